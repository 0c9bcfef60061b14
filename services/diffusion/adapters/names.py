"""What tensors are called in adapters' files: which factor of which layer, in which part of a model.

Three ways: PEFT's, that of diffusers before it used PEFT, and kohya-ss's as diffusers' converters leave it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROOTS = re.compile(r"(base_model\.model\.)?(unet\.|transformer\.)?")
_TEXT = re.compile(r"(base_model\.model\.)?(text_encoder(_(?P<number>\d))?\.(text_model\.)?|text_model\.)")
_DOWN = ("lora_A.weight", "lora.down.weight", "lora_down.weight", "lora_linear_layer.down.weight")
_UP = ("lora_B.weight", "lora.up.weight", "lora_up.weight", "lora_linear_layer.up.weight")
_PROCESSOR = re.compile(r"(?P<owner>.*?)(\.processor)?\.to_(?P<layer>[a-z]+)_lora\.(?P<half>down|up)\.weight")
"""As diffusers wrote layers of attention before it used PEFT."""


@dataclass(frozen=True)
class Layer:
    """A layer that factors are for."""

    part: int
    """0 for the network, else the number of a text encoder, from 1."""
    name: str
    """Without the part's name."""

    def __str__(self) -> str:
        return f"text encoder {self.part}'s {self.name}" if self.part else self.name


def factor_of(tensor: str) -> tuple[Layer, int] | None:
    """(the layer, 0 for down or 1 for up); None for what is no factor."""
    if old := _PROCESSOR.fullmatch(tensor):
        return _old_layer(old), int(old["half"] == "up")
    for half, suffixes in enumerate((_DOWN, _UP)):
        for suffix in suffixes:
            if tensor.endswith(f".{suffix}"):
                return _layer(tensor.removesuffix(f".{suffix}")), half
    return None


def layer_of_alpha(tensor: str) -> Layer:
    """Of ``<layer>.alpha``, or ``<first factor>.alpha``, as diffusers' converter gives some."""
    name = tensor.removesuffix(".alpha")
    found = factor_of(name)
    return _layer(name) if found is None else found[0]


def _old_layer(found: re.Match[str]) -> Layer:
    owner = _layer(found["owner"])
    out, plain = (
        ("out_proj", f"{found['layer']}_proj") if owner.part else ("to_out.0", f"to_{found['layer']}")
    )
    return Layer(owner.part, f"{owner.name}.{out if found['layer'] == 'out' else plain}")


def _layer(name: str) -> Layer:
    if text := _TEXT.match(name):
        return Layer(int(text["number"] or 1), name[text.end() :])
    root = _ROOTS.match(name)
    return Layer(0, name[root.end() :] if root else name)
