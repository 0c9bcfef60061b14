"""Hugging Face directories of language models: which family reads one, and how one is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from services.common.families import load as load_family
from services.sampler import families

FAMILIES = {
    "gpt2": "gpt2",
    "llama": "llama",
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
}
"""``model_type`` of ``config.json`` -> the family whose own module runs it."""

CONFIG_FILE = "config.json"
TOKENIZER_FILE = "tokenizer.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Description:
    """What a directory's files say of a model, weights apart."""

    config: Mapping[str, Any]
    """``config.json``."""
    bos: int | None = None
    """The token a text begins with."""
    eos: frozenset[int] = field(default_factory=frozenset)
    """The tokens that end a text."""
    chat_template: str = ""
    special_tokens: Mapping[str, str] = field(default_factory=dict)
    """bos_token, eos_token and others, as chat templates name them."""

    @property
    def window(self) -> int:
        """Positions that the model was trained for. Raises ValueError when it does not say."""
        window = self.config.get("max_position_embeddings", self.config.get("n_positions"))
        if not isinstance(window, int) or window < 1:
            raise ValueError("config.json lacks max_position_embeddings")
        return window

    @property
    def cached_numbers(self) -> int:
        """Numbers that are kept of a position: keys and values of all layers."""
        config = self.config
        heads = config.get("num_attention_heads", config.get("n_head"))
        width = config.get("head_dim") or config.get("hidden_size", config.get("n_embd")) // heads
        layers = config.get("num_hidden_layers", config.get("n_layer"))
        return int(2 * layers * (config.get("num_key_value_heads") or heads) * width)

    @property
    def model_type(self) -> str:
        """The architecture's name in Transformers."""
        return str(self.config.get("model_type", ""))


def describe(folder: Path) -> Description:
    """Read the small files of ``folder``. Raises ValueError naming a file that is missing or not JSON."""
    config = read_json(folder / CONFIG_FILE)
    if not (folder / TOKENIZER_FILE).is_file():
        raise ValueError(f"the directory holds no {TOKENIZER_FILE}, so text cannot become tokens")
    generation = read_json(folder / "generation_config.json", missing_ok=True)
    tokenizer = read_json(folder / "tokenizer_config.json", missing_ok=True)
    eos = generation.get("eos_token_id", config.get("eos_token_id"))
    template_file = folder / "chat_template.jinja"
    template = template_file.read_text() if template_file.is_file() else tokenizer.get("chat_template") or ""
    return Description(
        config=config,
        bos=generation.get("bos_token_id", config.get("bos_token_id")),
        eos=frozenset(eos if isinstance(eos, list) else [] if eos is None else [eos]),
        chat_template=template if isinstance(template, str) else _default_template(template),
        special_tokens={name: text for name, value in tokenizer.items() if (text := _token(name, value))},
    )


class NoFamily(ValueError):
    """None of our families runs a model; Transformers' own code may."""


def family_of(description: Description) -> ModuleType:
    """The family that runs a model of this description. Raises NoFamily naming one that none runs."""
    architecture = description.model_type
    if architecture not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise NoFamily(f"no family runs the architecture {architecture!r}; there are families for {known}")
    family = load_family(families, FAMILIES[architecture])
    if not family.supports(description.config):
        raise NoFamily(f"config.json asks of {architecture!r} what its family does not do")
    return family


def read_json(file: Path, missing_ok: bool = False) -> dict[str, Any]:
    """A JSON object. Raises ValueError with the file's name."""
    if missing_ok and not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text()))
    except FileNotFoundError:
        raise ValueError(f"the directory holds no {file.name}") from None
    except (ValueError, TypeError):
        raise ValueError(f"{file.name} is no JSON object") from None


def write(out: Path, family: ModuleType, model: Any, tokenizer: Path, end: str) -> None:
    """Write ``model`` into ``out`` as Transformers reads it: fp16 weights, its encoding, its end token."""
    from safetensors.torch import save_file
    from tokenizers import Tokenizer

    end_id = Tokenizer.from_file(str(tokenizer)).token_to_id(end)
    config = family.write_config(model.config) | {"bos_token_id": end_id, "eos_token_id": end_id}
    (out / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
    (out / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": end, "eos_token": end}) + "\n"
    )
    shutil.copyfile(tokenizer, out / TOKENIZER_FILE)
    save_file(family.write_weights(model), out / WEIGHTS_FILE, metadata={"format": "pt"})


def _default_template(templates: Any) -> str:
    """Of several named templates the default one."""
    named = {each["name"]: each["template"] for each in templates if isinstance(each, dict)}
    return str(named.get("default", ""))


def _token(name: str, value: Any) -> str:
    if not name.endswith("_token"):
        return ""
    return str(value.get("content", "")) if isinstance(value, dict) else str(value or "")
