"""The models of bench_lm: Hugging Face directories with random weights, the same for every peer."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SEED = 1
WINDOW = 1024
END = "<|endoftext|>"


@dataclass(frozen=True)
class Shape:
    """A model to measure. ``config`` makes its configuration of Transformers from the id of the end token."""

    name: str
    title: str
    vocabulary: int
    config: Callable[[int], Any]
    dtype: str = "float32"
    """Numbers of its file, as PyTorch calls them."""

    def made(self, home: Path) -> Path:
        """Its directory inside ``home``, written at first use."""
        folder = (home / self.name).resolve()
        if not (folder / "tokenizer.json").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _write(self, folder)
        return folder


def _llama(end: int) -> Any:
    return _llama_of(
        end,
        hidden_size=288,
        intermediate_size=768,
        num_hidden_layers=6,
        num_attention_heads=6,
        num_key_value_heads=6,
        tie_word_embeddings=True,
    )


def _large_llama(end: int) -> Any:
    """TinyLlama's sizes (Zhang et al. 2024)."""
    return _llama_of(
        end,
        hidden_size=2048,
        intermediate_size=5632,
        num_hidden_layers=22,
        num_attention_heads=32,
        num_key_value_heads=4,
    )


def _llama_of(end: int, **sizes: Any) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=32_000, max_position_embeddings=WINDOW, bos_token_id=end, eos_token_id=end, **sizes
    )


def _gpt2(end: int) -> Any:
    from transformers import GPT2Config

    return GPT2Config(bos_token_id=end, eos_token_id=end)  # its defaults are the smallest GPT-2


LLAMA = Shape("llama-15m", "Llama, 15 M weights", 32_000, _llama)
GPT2 = Shape("gpt2-124m", "GPT-2, 124 M weights", 50_257, _gpt2)
LARGE_LLAMA = Shape("llama-1100m", "Llama, 1.1 G weights", 32_000, _large_llama, "bfloat16")
"""For a GPU."""
SHAPES = {shape.name: shape for shape in (LLAMA, GPT2)}


def _write(shape: Shape, folder: Path) -> None:
    import torch
    import transformers

    library: Any = transformers  # typed only in part
    tokens = _tokenizer(shape.vocabulary)
    torch.manual_seed(_SEED)
    config, dtype = shape.config(tokens.token_to_id(END)), getattr(torch, shape.dtype)
    model = library.AutoModelForCausalLM.from_config(config, dtype=dtype)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    library.PreTrainedTokenizerFast(
        tokenizer_object=tokens, bos_token=END, eos_token=END, unk_token=END
    ).save_pretrained(folder)


def _tokenizer(size: int) -> Any:
    """A byte-level tokenizer with as many tokens as the model: the bytes, and words that no text gives."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [END, *alphabet, *(f"w{number}" for number in range(size - len(alphabet) - 1))]
    tokenizer = Tokenizer(models.BPE(vocab={name: place for place, name in enumerate(names)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([END])
    return tokenizer
