"""Graphs in 8 bits: near the exact ones, and each row the same in any batch."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from services.common.export import GraphSpec, Target, export_graphs
from services.common.export.int8 import quantise
from services.common.runtimes import open_runtime


class Block(nn.Module):
    """A transformer's feed-forward part over [batch, tokens, size], and a small head that stays as it is."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.up = nn.Linear(64, 256)
        self.down = nn.Linear(256, 64, bias=False)
        self.head = nn.Linear(64, 3)

    def forward(self, states):
        return self.head(states + self.down(nn.functional.gelu(self.up(self.norm(states)))))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The exact graph and the one in 8 bits, opened, and the number of products rewritten."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("int8")
    spec = GraphSpec(
        Block(), {"states": torch.randn(3, 5, 64)}, ("scores",), {"states": {0: "batch", 1: "tokens"}}
    )
    export_graphs({"model": spec}, folder / "exact", Target.ONNX)
    source, target = folder / "exact" / "model.onnx", folder / "int8.onnx"
    count = quantise(source, target)
    return open_runtime(source, threads=1), open_runtime(target, threads=1), count, target


def rows(seed, *shape):
    return np.random.default_rng(seed).standard_normal((*shape, 64)).astype(np.float32)


def test_only_products_worth_it_are_rewritten(graphs):
    _, _, count, file = graphs
    assert count == 2  # up and down; the head has three columns
    operators = [node.op_type for node in onnx.load(file).graph.node]
    assert operators.count("MatMulIntegerToFloat") == 2


def test_the_graph_in_8_bits_is_near_the_exact_one(graphs):
    exact, reduced, _, _ = graphs
    feeds = {"states": rows(1, 16, 9)}
    expected, found = exact.run(feeds)["scores"], reduced.run(feeds)["scores"]
    assert found.shape == expected.shape
    assert not np.array_equal(found, expected)
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


def test_a_row_is_the_same_alone_and_in_any_company(graphs):
    _, reduced, _, _ = graphs
    states = rows(2, 8, 6)
    states[3:] *= 100  # loud neighbours
    together = reduced.run({"states": states})["scores"]
    for place in range(8):
        alone = reduced.run({"states": states[place : place + 1]})["scores"]
        assert np.array_equal(alone[0], together[place])
    padded = np.concatenate([states, rows(3, 8, 4)], axis=1)
    assert np.array_equal(reduced.run({"states": padded})["scores"][:, :6], together)


def test_rows_of_zeros_and_very_large_ones_stay_finite(graphs):
    _, reduced, _, _ = graphs
    states = np.zeros((2, 2, 64), np.float32)
    states[1] = 1e6 * rows(4, 2)
    assert np.isfinite(reduced.run({"states": states})["scores"]).all()


def test_all_integers_fit_the_sums_of_cpus_without_vnni(graphs):
    file = graphs[3]
    weights = [w for w in onnx.load(file).graph.initializer if w.data_type == onnx.TensorProto.INT8]
    assert weights
    for weight in weights:
        values = onnx.numpy_helper.to_array(weight).astype(np.int32)
        assert 2 * 255 * np.abs(values).max() <= 2**15 - 1
