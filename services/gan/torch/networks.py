"""The networks of a version with their weights, whatever its family."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from safetensors.torch import load_file
from torch import nn

from services.common import families as common
from services.gan import families
from services.gan.loading.files import DISCRIMINATOR, GENERATOR


def config_of(family: ModuleType, name: str, config: Mapping[str, Any]) -> Any:
    """The family's ``Config`` of a version's configuration. Raises ValueError where there is none."""
    sizes = config.get(name)
    if not isinstance(sizes, Mapping):
        raise ValueError(f"the configuration has no {name!r} with the networks' sizes")
    # JSON has lists where dataclasses have tuples.
    values = {key: tuple(each) if isinstance(each, list) else each for key, each in sizes.items()}
    return family.Config(**values)


def generator_of(name: str, config: Mapping[str, Any], folder: Path) -> nn.Module:
    """The generator in ``folder``, to be evaluated. Raises ValueError where weights do not fit."""
    family = common.load(families, name)
    return _loaded(family.Generator(config_of(family, name, config)), folder / GENERATOR)


def discriminator_of(name: str, config: Mapping[str, Any], folder: Path) -> nn.Module:
    """The discriminator in ``folder``, to be evaluated. Raises ValueError where weights do not fit."""
    family = common.load(families, name)
    return _loaded(family.Discriminator(config_of(family, name, config)), folder / DISCRIMINATOR)


def _loaded(network: nn.Module, file: Path) -> nn.Module:
    try:
        network.load_state_dict(load_file(file))  # 16 bits become 32
    except RuntimeError as error:
        raise ValueError(f"{file.name} does not fit the configuration: {error}") from None
    return network.eval().requires_grad_(False)
