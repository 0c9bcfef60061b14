"""The parity check finds what a trace got wrong, and nothing wrong is published."""

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import Code, Reason, ServiceError
from services.common.export import GraphSpec, Target, export_graphs, export_module, verify
from services.common.export.parity import max_abs_error, min_cosine
from tests.unit.common.tiny_modules import Noisy, leftovers, picture_spec


class FrozenSize(nn.Module):
    """Bakes the traced length into the graph."""

    def forward(self, x):
        return x * torch.arange(int(x.shape[1]), dtype=torch.float32).sum().item()


class Leaky(nn.Module):
    """A row's answer depends on the other rows."""

    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class WrongAtOne(nn.Module):
    """NaN comes out at every size."""

    def forward(self, x):
        return x / torch.zeros_like(x) * 0


@pytest.mark.parametrize(
    ("module", "text"),
    [
        (FrozenSize(), "differs from eager|has rows at cosine"),
        (Leaky(), "row 0 alone differs"),
        (Noisy(), "differs from eager"),
        (WrongAtOne(), "differs from eager by inf"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_an_export_that_does_not_do_what_eager_does_is_not_kept(tmp_path, module, text):
    folder = tmp_path / "out"
    example = {"x": torch.rand(3, 4, generator=torch.Generator().manual_seed(3))}
    with pytest.raises(ServiceError, match=text) as caught:
        export_module(module, example, ("y",), {"x": {0: "batch", 1: "n"}}, folder, Target.TORCHSCRIPT)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.PARITY_FAILED)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("left", "right", "error"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.5),
        ([np.inf, -np.inf], [np.inf, -np.inf], 0.0),
        ([np.inf], [-np.inf], np.inf),
        ([np.nan], [np.nan], np.inf),
        ([], [], 0.0),
    ],
)
def test_differences_of_special_values(left, right, error):
    assert max_abs_error(np.array(left), np.array(right)) == error


def test_cosines_are_taken_by_row():
    left = np.array([[1.0, 0.0], [0.0, 2.0], [1e-9, 0.0]])
    right = np.array([[5.0, 0.0], [0.0, -2.0], [0.0, 1e-9]])
    assert min_cosine(left[:1], right[:1], 1e-4) == 1
    assert min_cosine(left, right, 1e-4) == -1
    assert min_cosine(left[2:], right[2:], 1e-4) == 1
    assert min_cosine(np.array([1.0, 0.0]), np.array([0.0, 1.0]), 1e-4) == 0


class Branches(nn.Module):
    """Control flow on values: no static graph can hold it."""

    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


def test_a_module_without_a_static_graph_is_refused(tmp_path):
    with pytest.raises(ServiceError, match="Branches cannot be exported as ONNX") as caught:
        export_module(Branches(), {"x": torch.ones(2, 2)}, ("y",), {}, tmp_path / "out", Target.ONNX)
    assert caught.value.reason is Reason.EXPORT_FAILED
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_one_before(tmp_path):
    folder = tmp_path / "out"
    before = export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT)
    strict = GraphSpec(Noisy(), {"x": torch.rand(2, 4)}, ("y",))
    with pytest.raises(ServiceError, match="graph 'model'"):
        export_graphs({"model": strict}, folder, Target.TORCHSCRIPT)
    assert verify(folder) == before
    assert leftovers(folder) == []
