"""Reads an encoder's directory: sizes, and what sentence-transformers keeps beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.tokenizer.engine import Pooling

# The flags of sentence-transformers' pooling module that name one of ours.
_POOLING_FLAGS = {
    "pooling_mode_mean_tokens": Pooling.MEAN,
    "pooling_mode_cls_token": Pooling.CLS,
    "pooling_mode_lasttoken": Pooling.LAST,
    "pooling_mode_max_tokens": Pooling.MAX,
}
_POOLING_NAMES = {"mean": Pooling.MEAN, "cls": Pooling.CLS, "lasttoken": Pooling.LAST, "max": Pooling.MAX}
_NO_LIMIT = 1_000_000
"""Tokenizers without a limit say a number far beyond this."""


@dataclass(frozen=True)
class EncoderConfig:
    """How an encoder is used."""

    dimensions: int
    max_tokens: int
    pooling: Pooling = Pooling.MEAN
    normalize: bool = False
    lowercase: bool = False
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str = ""


def read_encoder(config: Mapping[str, Any], folder: Path, positions: int) -> EncoderConfig:
    """What ``folder`` says of a model with ``config`` that has ``positions`` positions.

    Raises ValueError for a module that this platform does not run.
    """
    modules = _read(folder / "modules.json", list)
    pooling, normalize = Pooling.MEAN, False
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling(_read(folder / str(module["path"]) / "config.json", dict))
        elif kind == "Normalize":
            normalize = True
        elif kind != "Transformer":
            raise ValueError(f"modules.json names a module {kind}, which is not supported")
    sentence = _read(folder / "sentence_bert_config.json", dict)
    prompts = _read(folder / "config_sentence_transformers.json", dict)
    return EncoderConfig(
        dimensions=int(config["hidden_size" if "hidden_size" in config else "dim"]),
        max_tokens=_max_tokens(sentence, _read(folder / "tokenizer_config.json", dict), positions),
        pooling=pooling,
        normalize=normalize,
        lowercase=bool(sentence.get("do_lower_case")),
        prompts={str(name): str(text) for name, text in (prompts.get("prompts") or {}).items()},
        default_prompt=str(prompts.get("default_prompt_name") or ""),
    )


def _pooling(config: Mapping[str, Any]) -> Pooling:
    if config.get("include_prompt") is False:
        raise ValueError("pooling that leaves out the prompt is not supported")
    if "pooling_mode" in config:
        named = (
            [config["pooling_mode"]] if isinstance(config["pooling_mode"], str) else config["pooling_mode"]
        )
        chosen = [_POOLING_NAMES.get(str(name)) for name in named]
    else:
        flags = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
        chosen = [_POOLING_FLAGS.get(name) for name in flags]
    if len(chosen) != 1 or chosen[0] is None:
        raise ValueError(f"pooling {dict(config)} is none of {', '.join(_POOLING_NAMES)}")
    return chosen[0]


def _max_tokens(sentence: Mapping[str, Any], tokenizer: Mapping[str, Any], positions: int) -> int:
    limits = [positions]
    if sentence.get("max_seq_length"):
        limits.append(int(sentence["max_seq_length"]))
    elif 0 < float(tokenizer.get("model_max_length") or 0) < _NO_LIMIT:
        limits.append(int(tokenizer["model_max_length"]))
    return min(limits)


def _read(file: Path, kind: type[Any]) -> Any:
    """The JSON of a file that may be missing. Raises ValueError when it is something else."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return kind()
    if not isinstance(value, kind):
        raise ValueError(f"{file.name} holds no {kind.__name__}")
    return value
