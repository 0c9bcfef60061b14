"""Whether an adapter is for a network: by the layers it changes, and their sizes."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from services.common.errors import ServiceError, invalid
from services.common.lora import Adapter
from services.diffusion import engine

Sizes = Mapping[str, tuple[int, int]]
"""(inputs, outputs) of each linear layer, by its name in the network."""


def check_fits(
    adapter: engine.Adapter, model: str, ranks: int, sizes: Sizes, convolutions: Collection[str]
) -> Adapter:
    """The adapter. Raises INVALID_ARGUMENT when it is not for ``model``, naming both."""
    mine = own(adapter)
    if mine.rank > ranks:
        why = f"its rank is {mine.rank}, at most {ranks} (all adapters in use together)"
        raise _refused(mine, model, why)
    for layer, factors in mine.factors.items():
        if layer in convolutions:
            raise _refused(mine, model, f"{layer} is a convolution; only linear layers can be changed")
        if layer not in sizes:
            raise _refused(mine, model, f"the model has no layer {layer}")
        found = (factors.down.shape[1], factors.up.shape[0])
        if found != sizes[layer]:
            has, wants = (f"{inputs} -> {outputs}" for inputs, outputs in (sizes[layer], found))
            raise _refused(mine, model, f"{layer} is {has}, the adapter's is {wants}")
    return mine


def own(adapter: engine.Adapter) -> Adapter:
    """The adapter as what it is: the loader makes no others."""
    if not isinstance(adapter, Adapter):
        raise TypeError(f"{type(adapter).__name__} is no adapter of factors")
    return adapter


def _refused(adapter: Adapter, model: str, why: str) -> ServiceError:
    return invalid("adapters", f"adapter {adapter.name} is not for model {model}: {why}")
