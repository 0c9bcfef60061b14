"""A tiny model of pixels by its graphs: parity with torch, adapters as inputs, rows no company changes."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file

from services.common.export.manifest import Target, read_export
from services.common.export.run import write_export
from services.common.lora import Factors
from services.common.runtimes import open_runtime
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.adapters.stacks import Stacks, layers_of
from services.diffusion.engine import Question, Text
from services.diffusion.networks.graphs import graphs_of, network_of
from services.diffusion.networks.unet import Config, Unet
from services.diffusion.onnx.denoiser import OnnxDenoiser
from services.diffusion.profile import Profile, measured

RANKS, TOKENS = 8, 6
CONFIG = Config(size=8, widths=(32,), blocks=1, attends=(True,), text_width=32)
TOLERANCE = 2e-5
ONNX = pytest.param(Target.ONNX, marks=pytest.mark.slow)
"""Takes long to write; ``test_golden_images.py`` asks the same of the shipped graphs."""


pytestmark = pytest.mark.timeout(900)  # exports take minutes where many share the cores


def _silent(done, total, message):
    """Nobody watches."""


@pytest.fixture(scope="module")
def version(tmp_path_factory):
    """Files of a version with random weights, and its config."""
    folder = tmp_path_factory.mktemp("version")
    torch.manual_seed(0)
    network = Unet(CONFIG)
    for weight in network.parameters():
        if not weight.abs().sum():
            torch.nn.init.normal_(weight, std=0.1)
    save_file({name: each.half() for name, each in network.state_dict().items()}, folder / "unet.safetensors")
    text = transformers.CLIPTextConfig(
        vocab_size=20,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=TOKENS,
    )
    transformers.CLIPTextModel(text).half().save_pretrained(folder / "text")
    return folder, {"unet": json.loads(json.dumps(asdict(CONFIG)))}


@pytest.fixture(scope="module", params=[ONNX, Target.TORCHSCRIPT], ids=str)
def exported(version, tmp_path_factory, request):
    """The graphs for a target; they are written only if they are on a par with eager."""
    folder, config = version
    out = tmp_path_factory.mktemp(str(request.param))
    specs = graphs_of(config, folder, RANKS)
    write_export(specs, out, request.param, name="tiny", source="0" * 64, report=_silent)
    return {name: out / graph.file for name, graph in read_export(out).graphs.items()}


@pytest.fixture
def stacks(version):
    return Stacks("tiny:1", *layers_of(version[0] / "unet.safetensors"), RANKS)


@pytest.fixture
def denoiser(exported, stacks):
    made = OnnxDenoiser(
        open_runtime(exported["unet"], threads=1),
        lambda: open_runtime(exported["adapted"], threads=1),
        stacks,
    )
    yield made
    made.close()


def adapter(version, key, rank=2, only=""):
    chance = np.random.default_rng(len(key))
    sizes, _ = layers_of(version[0] / "unet.safetensors")
    factors = {
        layer: Factors(
            chance.standard_normal((rank, inputs)).astype(np.float32) / 4,
            chance.standard_normal((outputs, rank)).astype(np.float32) / 4,
        )
        for layer, (inputs, outputs) in sizes.items()
        if only in layer
    }
    return Adapter(key, key, factors)


def question(number, adapters=()):
    chance = np.random.default_rng(number)
    mask = np.arange(TOKENS) < 2 + number % (TOKENS - 1)
    text = Text({"text": chance.standard_normal((TOKENS, 32)).astype(np.float32), "mask": mask})
    sample = chance.standard_normal((3, 8, 8)).astype(np.float32)
    return Question(sample, 100.0 * (number % 10), text, adapters)


def eager(version, asked, used=()):
    """What the network says, its weights changed by (adapter, scale)."""
    folder, config = version
    network = network_of(config, folder)
    with torch.no_grad():
        for each, scale in used:
            for layer, factors in each.factors.items():
                change = scale * torch.from_numpy(factors.up @ factors.down)
                network.get_submodule(layer).weight += change
        text = {name: torch.from_numpy(each)[None] for name, each in asked.text.inputs.items()}
        said = network(torch.from_numpy(asked.sample)[None], torch.tensor([asked.timestep]), **text)
    return said[0].numpy()


def test_rows_are_what_the_network_says(denoiser, version):
    asked = [question(number) for number in range(4)]
    for one, said in zip(asked, denoiser.predict(asked), strict=True):
        np.testing.assert_allclose(said, eager(version, one), atol=TOLERANCE)


def test_each_row_has_its_own_adapters(denoiser, stacks, version):
    one, other = adapter(version, "one"), adapter(version, "other", rank=3, only="words")
    places = [stacks.take(each) for each in (one, other)]
    used = [(), ((one, 1.0),), ((other, -0.5),), ((one, 0.5), (other, 2.0))]
    place = {one: places[0], other: places[1]}
    asked = [
        question(number, tuple((place[each], scale) for each, scale in row))
        for number, row in enumerate(used)
    ]
    for one_row, row, said in zip(asked, used, denoiser.predict(asked), strict=True):
        np.testing.assert_allclose(said, eager(version, one_row, row), atol=10 * TOLERANCE)


@pytest.mark.parametrize("exported", [ONNX], indirect=True, ids=str)
def test_company_changes_no_bit_of_a_row(denoiser, stacks, version):
    place = stacks.take(adapter(version, "one"))
    asked = [question(number, ((place, 0.7),) if number % 2 else ()) for number in range(6)]
    together = denoiser.predict(asked)
    for one, said in zip(asked, together, strict=True):
        np.testing.assert_array_equal(denoiser.predict([one])[0], said)
        for count in (2, 3, 5):
            np.testing.assert_array_equal(denoiser.predict([one] * count)[-1], said)


@pytest.mark.parametrize("exported", [ONNX], indirect=True, ids=str)
def test_the_ranks_that_an_adapter_gets_change_no_bit(denoiser, stacks, version):
    mine = adapter(version, "mine")
    first = denoiser.predict([question(1, ((stacks.take(mine), 1.0),))])[0]
    stacks.leave(mine)
    for number in range(3):  # push it out, and have it come back elsewhere
        stacks.take(adapter(version, "x" * (number + 5), rank=2))
    again = stacks.take(mine)
    np.testing.assert_array_equal(denoiser.predict([question(1, ((again, 1.0),))])[0], first)


class Rounding:
    """A runtime whose answers depend on the number of rows in the last bit, as some kernels' do."""

    def __init__(self):
        self.rows = []

    def run(self, feeds):
        count = len(feeds["sample"])
        self.rows.append(count)
        return {"output": feeds["sample"] + np.float32(count * 1e-6)}

    def close(self):
        """Nothing is held."""


def test_where_kernels_round_by_rows_every_call_has_as_many(stacks):
    runtime = Rounding()
    made = OnnxDenoiser(runtime, lambda: runtime, stacks)
    made.measure(question(0), rows=4)
    runtime.rows.clear()
    alone = made.predict([question(1)])[0]
    together = made.predict([question(1), question(2), question(3)])
    np.testing.assert_array_equal(alone, together[0])
    assert (len(together), set(runtime.rows)) == (3, {4})


def test_places_are_few_and_the_one_unused_longest_makes_room(stacks, version):
    four = [adapter(version, "a" * number, rank=2) for number in range(1, 5)]
    assert len({stacks.take(each) for each in four}) == 4
    late = adapter(version, "late", rank=4)
    assert stacks.take(late) is None
    stacks.leave(four[1])
    assert stacks.take(late) is None
    stacks.leave(four[2])
    assert stacks.take(late) is not None
    assert [stacks.holds(each) for each in (*four, late)] == [True, False, False, True, True]


def test_an_adapter_must_fit(stacks, version):
    from services.common.errors import ServiceError

    wide = adapter(version, "wide", rank=RANKS + 1)
    with pytest.raises(ServiceError, match=r"adapter wide is not for model tiny:1: its rank is 9, at most 8"):
        stacks.check(wide)
    name, factors = next(iter(adapter(version, "x").factors.items()))
    thin = Factors(factors.down[:, :-1], factors.up)
    with pytest.raises(ServiceError, match=f"{name} is "):
        stacks.check(Adapter("thin", "thin", {name: thin}))
    for layer, said in (("enter", "enter is a convolution"), ("nowhere", "the model has no layer nowhere")):
        with pytest.raises(ServiceError, match=said):
            stacks.check(Adapter("odd", "odd", {layer: factors}))


def test_as_many_rows_as_are_worth_it(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("services.diffusion.profile.time.perf_counter", lambda: clock[0])

    def device(cost):
        def call(rows):
            clock[0] += cost(rows)

        return call

    linear = measured(device(lambda rows: 0.01 * rows), (1, 2, 4, 8), 10.0)
    assert (linear.rows, linear.seconds_per_row) == (1, pytest.approx(0.01))
    flat = measured(device(lambda rows: 0.05), (1, 2, 4, 8), 10.0)
    assert (flat.rows, flat.seconds_per_row) == (8, pytest.approx(0.05 / 8))
    some = measured(device(lambda rows: 0.01 + 0.01 * max(rows, 4)), (1, 2, 4, 8), 10.0)
    assert some.rows == 8
    slow = measured(device(lambda rows: 3.0), (1, 2, 4, 8), 5.0)
    assert (slow.rows, slow.seconds_per_row) == (1, pytest.approx(3.0))


def test_rows_that_do_not_fit_into_memory_are_not_tried_again():
    def call(rows):
        if rows > fits:
            raise MemoryError

    fits = 3
    assert measured(call, (1, 2, 4, 8), 10.0, MemoryError).rows in (1, 2)
    fits = 0
    with pytest.raises(ValueError, match="a call of 1 rows does not fit into the device's memory"):
        measured(call, (1, 2, 4, 8), 10.0, MemoryError)


def test_few_are_served_one_after_the_other_and_many_together():
    processor = Profile(8, {1: 19.0, 2: 17.0, 4: 15.0, 8: 11.2})
    rows = [processor.worth(waiting) for waiting in (2, 4, 8, 16, 64)]
    assert rows == sorted(rows)
    assert rows[-1] == 8
    accelerator = Profile(8, {1: 8.0, 2: 4.1, 4: 2.1, 8: 1.1})
    assert accelerator.worth(2) >= 2
    assert accelerator.worth(8) == 8
    linear = Profile(8, {1: 10.0, 2: 10.0, 4: 10.0, 8: 10.0})
    assert linear.worth(1000) == 1
