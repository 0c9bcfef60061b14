"""Calls of a pipeline's network that are recorded: the same answers, a graph a shape, none with adapters."""

import numpy as np
import torch

from services.diffusion.pipelines.parts import replayed
from services.diffusion.pipelines.parts.replayed import Replayed


class Network:
    """Adds what it is given, and counts."""

    def __init__(self):
        self.calls = 0

    def __call__(self, samples, timesteps, inputs):
        self.calls += 1
        return samples + timesteps.view(-1, 1, 1, 1) + inputs["states"].sum() + inputs["size"].sum()


def asked(rows, side=4, value=1.0):
    inputs = {"states": torch.full((rows, 2), value), "size": torch.full((rows, 1), 2.0)}
    return torch.full((rows, 3, side, side), value), torch.arange(rows) * value, inputs


class Recorder:
    """As a GPU's: what is recorded is done again on the memory it was recorded with, and counted."""

    def __init__(self, fails=None):
        self.records = self.runs = 0
        self.fails = fails

    def __call__(self, run):
        self.records += 1
        if self.fails:
            raise self.fails
        result = run().clone()

        def replay():
            self.runs += 1
            return result.copy_(run())

        return replay


def test_a_shape_is_recorded_once_and_gives_what_the_network_gives():
    record, plain = Recorder(), Network()
    network = Replayed(Network(), record)
    for rows, side, value in [(1, 4, 1.0), (2, 4, 3.0), (1, 4, -2.0), (1, 6, 5.0), (2, 4, 0.5)]:
        given = asked(rows, side, value)
        torch.testing.assert_close(network(*given), plain(*given))
    assert record.records == 3
    assert record.runs == 5


def test_only_so_many_shapes_are_kept(monkeypatch):
    monkeypatch.setattr(replayed, "MOST", 2)
    record, plain = Recorder(), Network()
    network = Replayed(Network(), record)
    for side in (2, 3, 4, 5, 4, 2):
        torch.testing.assert_close(network(*asked(1, side)), plain(*asked(1, side)))
    assert (record.records, record.runs) == (2, 3)


def test_a_network_that_cannot_be_recorded_runs_as_it_is(caplog):
    record = Recorder(RuntimeError("a value is asked for"))
    network, plain = Replayed(Network(), record), Network()
    for rows in (1, 2, 1):
        torch.testing.assert_close(network(*asked(rows)), plain(*asked(rows)))
    assert record.records == 1
    assert not network.is_recording
    assert "not recorded as CUDA graphs" in caplog.text


def test_a_call_that_fits_but_not_as_a_graph_runs_as_it_is():
    record = Recorder(torch.OutOfMemoryError("8 GiB"))
    network, plain = Replayed(Network(), record), Network()
    for _ in range(2):
        torch.testing.assert_close(network(*asked(8)), plain(*asked(8)))
    assert record.records == 1, "it is not tried again"
    assert network.is_recording, "other shapes are"


def test_a_lost_result_is_the_next_ones():
    """Why it is fetched before the next call: the memory is the same."""
    network = Replayed(Network(), Recorder())
    first = network(*asked(1, value=1.0))
    before = first.clone()
    network(*asked(1, value=2.0))
    assert not np.array_equal(first, before)
