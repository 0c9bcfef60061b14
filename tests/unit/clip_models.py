"""Tiny text-image embedders in Hugging Face directories, made by the test with random weights."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    "a drawing of a smiling person with red hair and round glasses on a blue background, a photograph of "
    "the whale that swam under the ship while a storm rose over the masts"
)
TEXTS = ["a drawing of a person", "the whale", WORDS, "round glasses, red hair"]
BEGIN, END = "<|startoftext|>", "<|endoftext|>"
TOKENS, SIDE, DIMENSIONS = 24, 32, 16


@cache  # training breaks ties as it likes: two trainings differ
def tokenizer() -> Tokenizer:
    """As CLIP cuts: lower case, pairs of bytes whose last one ends a word; the end has the highest id."""
    made = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=700, initial_alphabet=alphabet, end_of_word_suffix="</w>")
    made.train_from_iterator([WORDS], trainer)
    described = json.loads(made.to_str())
    vocabulary = described["model"]["vocab"]
    for each in (*(f"{symbol}</w>" for symbol in sorted(alphabet)), BEGIN, END):
        vocabulary.setdefault(each, len(vocabulary))
    described["model"]["unk_token"] = END
    made = Tokenizer.from_str(json.dumps(described))
    made.add_special_tokens([BEGIN, END])
    begin, end = made.token_to_id(BEGIN), made.token_to_id(END)
    made.post_processor = processors.RobertaProcessing((END, end), (BEGIN, begin), add_prefix_space=False)
    return made


def directory(
    folder: Path, *, legacy: bool = False, seed: int = 0, preprocessing: dict[str, object] | None = None
) -> Path:
    """A CLIPModel; ``legacy``: its configuration names 2 as its end token, as OpenAI's do."""
    folder.mkdir(parents=True, exist_ok=True)
    cut = tokenizer()
    cut.save(str(folder / "tokenizer.json"))
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    ends = {"bos_token_id": cut.token_to_id(BEGIN), "eos_token_id": 2 if legacy else cut.token_to_id(END)}
    text = {**tower, **ends, "vocab_size": cut.get_vocab_size(), "max_position_embeddings": TOKENS}
    vision = {**tower, "image_size": SIDE, "patch_size": 8}
    torch.manual_seed(seed)
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIMENSIONS)
    model = transformers.CLIPModel(config)
    with torch.no_grad():
        for parameter in model.parameters():  # biases begin at zero, and would hide a lost one
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    settings = preprocessing or {
        "size": {"shortest_edge": SIDE},
        "crop_size": {"height": SIDE, "width": SIDE},
    }
    kind = {"image_processor_type": "CLIPImageProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(kind | settings))
    return folder


def pictures() -> list[np.ndarray]:
    """Of several sizes and shapes, smooth enough to be resized."""
    chance = np.random.default_rng(0)
    sizes = [(32, 32), (64, 64), (50, 31), (20, 90), (200, 133)]
    small = [chance.integers(0, 256, (6, 6, 3), dtype=np.uint8) for _ in sizes]
    return [
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BICUBIC))
        for each, size in zip(small, sizes, strict=True)
    ]


def png(pixels: np.ndarray) -> bytes:
    """A picture's file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
