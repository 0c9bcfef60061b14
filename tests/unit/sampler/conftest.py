"""Tiny language models, engines over them, made once, and a service that serves them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from pequod.sampler import v1
from services.common.store.derived import derive
from services.common.store.directory import describe
from services.sampler.settings import SamplerSettings
from services.sampler.transformer import loading
from services.sampler.transformer.onnx.opening import Placement
from tests.shared import made_once
from tests.unit.sampler import adapters as lora
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.service import sampler_service


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
        folder = directory(kind)
        # As the service keeps them, so that it finds these and they find those.
        build_once = partial(derive, kept, describe(f"file:{folder}", "", folder, "file").manifest.digest)
        return loading.load(Named, folder, build_once, placement, loading.Budget(**budget))

    return make


@pytest.fixture(scope="module")
def hub(directory, tmp_path_factory):
    """Directories of a model with a chat template, and of adapters, for the tests of a file."""
    root = tmp_path_factory.mktemp("hub")
    plain = directory("llama")
    tiny.write("llama", root / "chat", chat=True)
    lora.write(plain, root / "poet", 1, ["q_proj", "down_proj"])
    lora.write(plain, root / "pirate", 2, ["up_proj", "lm_head"])
    lora.write(directory("gpt2"), root / "foreign", 3, ["c_attn"])
    lora.write(plain, root / "wide", 4, ["q_proj"], r=64)
    return root


@pytest.fixture
async def service(hub, directory, kept, tmp_path):
    """A stub on a running service, and its metrics."""
    plain = directory("llama")
    settings = SamplerSettings(default_model=f"file:{plain}", preload=(), slots=4, cache_bytes=2**20)
    async with sampler_service(tmp_path, kept, settings, hub, plain.parent) as running:
        yield running


@pytest.fixture
def channel(service):
    return service[0]


@pytest.fixture
def sampler(channel):
    return v1.SamplerServiceStub(channel)
