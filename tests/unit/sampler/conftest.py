"""Tiny language models and engines over them, made once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from services.common.store.derived import derive
from services.sampler.transformer import loading
from services.sampler.transformer.onnx.opening import Placement
from tests.shared import made_once
from tests.unit.sampler import language_models as tiny


class Named:
    """All that loading asks of a version."""

    name = "tiny"


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    """The directory of a tiny model, made once for each kind."""

    def made(kind: str) -> Path:
        return made_once(tmp_path_factory, f"hub/{kind}", partial(tiny.write, kind))

    return made


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """A cache in which graphs of those models stay; whoever needs one that another makes waits for it."""
    return made_once(tmp_path_factory, "graphs", lambda folder: None)


@pytest.fixture(scope="session")
def engine_of(directory, kept):
    """A new engine of a tiny model; graphs are made once."""

    def make(kind: str, precision: str = "int8", slots: int = 8, adapters: int | None = None, **budget: int):
        if adapters is None:  # the graph that takes them is made where tests have some
            adapters = 4 if kind in {"llama", "gpt2"} else 0
        placement = Placement(precision, threads=2, slots=slots, context=tiny.WINDOW, adapters=adapters)
        build_once = partial(derive, kept, kind)
        return loading.load(Named, directory(kind), build_once, placement, loading.Budget(**budget))

    return make
