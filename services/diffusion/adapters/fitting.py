"""Whether an adapter is for a model: by the layers it changes, and their sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.common.errors import ServiceError, invalid
from services.common.lora import Factors
from services.diffusion import engine
from services.diffusion.adapters.adapter import Adapter

Sizes = Mapping[str, tuple[int, int]]
"""(inputs, outputs) of each layer that can be changed, by its name. A convolution's inputs: its kernel's."""


def check_fits(
    adapter: engine.Adapter,
    model: str,
    ranks: int,
    sizes: Sizes,
    texts: Mapping[int, Sizes],
    fixed: Collection[str] = (),
) -> Adapter:
    """The adapter. Raises INVALID_ARGUMENT when it is not for ``model``, naming both.

    ``texts``: of its text encoders, by number; ``fixed``: convolutions that cannot be changed.
    """
    mine = own(adapter)
    if mine.rank > ranks:
        why = f"its rank is {mine.rank}, at most {ranks} (all adapters in use together)"
        raise _refused(mine, model, why)
    for layer in mine.factors:
        if layer in fixed:
            raise _refused(mine, model, f"{layer} is a convolution; only linear layers can be changed")
    _check_part(mine, model, "", mine.factors, sizes)
    for number, factors in mine.texts.items():
        if number not in texts:
            raise _refused(mine, model, f"it changes text encoder {number}, which is fixed there")
        _check_part(mine, model, f"text encoder {number}'s ", factors, texts[number])
    return mine


def own(adapter: engine.Adapter) -> Adapter:
    """The adapter as what it is: the loader makes no others."""
    if not isinstance(adapter, Adapter):
        raise TypeError(f"{type(adapter).__name__} is no adapter of factors")
    return adapter


def _check_part(mine: Adapter, model: str, part: str, changed: Mapping[str, Factors], sizes: Sizes) -> None:
    for layer, factors in changed.items():
        if layer not in sizes:
            raise _refused(mine, model, f"the model has no layer {part}{layer}")
        found = (factors.down.shape[1], factors.up.shape[0])
        if found != sizes[layer]:
            has, wants = (f"{inputs} -> {outputs}" for inputs, outputs in (sizes[layer], found))
            raise _refused(mine, model, f"{part}{layer} is {has}, the adapter's is {wants}")


def _refused(adapter: Adapter, model: str, why: str) -> ServiceError:
    return invalid("adapters", f"adapter {adapter.name} is not for model {model}: {why}")
