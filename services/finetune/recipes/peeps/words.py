"""The text encoder's tokens: byte-level pairs of captions in lower case, between a begin and an end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, normalizers, processors

from services.finetune.recipes.encoding import byte_level_bpe
from services.finetune.recipes.peeps.captions import caption
from services.finetune.recipes.peeps.dataset import avatars

BEGIN, END, PAD = "<|startoftext|>", "<|endoftext|>", "<|pad|>"
_SAMPLE = 20_000


def learn(size: int, length: int, seed: int, file: Path) -> None:
    """Write the tokenizer of ``size`` tokens that cuts prompts to ``length`` of them."""
    chance = np.random.default_rng(seed)
    texts = [caption(avatar, chance) for avatar in avatars(_SAMPLE, seed)]
    # The end must not have id 2: transformers takes that for OpenAI's old marker, and reads a text's vector
    # at the token of the highest id, wherever that stands.
    tokenizer = byte_level_bpe(texts, size, (PAD, END, BEGIN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    begin, end = tokenizer.token_to_id(BEGIN), tokenizer.token_to_id(END)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, begin), (END, end)]
    )
    tokenizer.enable_truncation(length)
    tokenizer.save(str(file))


def encode(tokenizer: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and mask [texts, longest] of int64; padding has id 0."""
    encoded = tokenizer.encode_batch(list(texts))
    longest = max(len(each.ids) for each in encoded)
    ids = np.zeros((len(encoded), longest), np.int64)
    mask = np.zeros_like(ids)
    for place, each in enumerate(encoded):
        ids[place, : len(each.ids)] = each.ids
        mask[place, : len(each.ids)] = 1
    return ids, mask
