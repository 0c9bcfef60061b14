"""Runtimes: what they compute, the feeds and providers they refuse, the threads they keep to."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
import pytest
import torch

from services.common.errors import Code, Reason, ServiceError
from services.common.export import Target, export_graphs
from services.common.runtimes import GraphTensor, onnx, open_runtime
from services.common.runtimes.tensors import check_feeds
from tests.unit.common.tiny_modules import FILES, Encoder, encoder_inputs, encoder_spec, picture_spec


@pytest.fixture(scope="module", params=FILES, ids=str)
def kept(request, tmp_path_factory):
    """The path of an exported encoder."""
    folder = tmp_path_factory.mktemp("kept") / "export"
    export_graphs({"model": encoder_spec()}, folder, request.param)
    return folder / FILES[request.param]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """The path of an exported picture graph."""
    folder = tmp_path_factory.mktemp("picture") / "export"
    export_graphs({"model": picture_spec()}, folder, Target.ONNX)
    return folder / FILES[Target.ONNX]


@pytest.fixture
def encoder(kept):
    runtime = open_runtime(kept, threads=1, providers=("cpu",))
    yield runtime
    runtime.close()


def feeds(batch=3, length=5, seed=1):
    return {name: value.numpy() for name, value in encoder_inputs(batch, length, seed).items()}


def eager(inputs):
    with torch.no_grad():
        hidden, pooled = Encoder().eval()(**{name: torch.tensor(value) for name, value in inputs.items()})
    return {"hidden": hidden.numpy(), "pooled": pooled.numpy()}


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 5), (3, 5), (17, 2), (64, 33)])
def test_any_size_of_a_free_axis_gives_what_eager_gives(encoder, batch, length):
    inputs = feeds(batch, length, seed=batch)
    results = encoder.run(inputs)
    expected = eager(inputs)
    assert list(results) == ["hidden", "pooled"]
    for name, value in results.items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected[name], atol=1e-5)


def test_a_runtime_says_what_it_takes_and_gives(encoder):
    assert [str(tensor) for tensor in encoder.inputs] == [
        "float32[batch, length, 8]",
        "float32[batch, length]",
    ]
    assert [tensor.name for tensor in encoder.outputs] == ["hidden", "pooled"]
    assert [tensor.sizes for tensor in encoder.outputs] == [(-1, -1, 16), (-1, 16)]
    assert encoder.providers == ("cpu",)


def test_the_same_feeds_give_the_same_bits_every_time(encoder):
    inputs = feeds(4, 9)
    first = encoder.run(inputs)
    for _ in range(20):
        again = encoder.run(inputs)
        assert all(np.array_equal(first[name], again[name]) for name in first)


def test_other_memory_layouts_are_taken(encoder):
    inputs = feeds(4, 6)
    expected = encoder.run(inputs)
    backwards = np.ascontiguousarray(inputs["x"][:, :, ::-1])[:, :, ::-1]
    fixed = inputs["mask"].copy()
    fixed.flags.writeable = False
    results = encoder.run({"x": backwards, "mask": fixed})
    assert np.array_equal(results["pooled"], expected["pooled"])


@pytest.mark.parametrize(
    ("change", "field", "text"),
    [
        ({"mask": None}, "inputs.mask", r"is missing; the graph takes float32\[batch, length\]"),
        ({"extra": np.zeros(1)}, "inputs.extra", "the graph takes mask, x"),
        (
            {"x": feeds()["x"].astype(np.float64)},
            "inputs.x",
            r"is float64\[3, 5, 8\]; the graph takes float32",
        ),
        ({"x": feeds()["x"][0]}, "inputs.x", r"is float32\[5, 8\]"),
        ({"x": feeds()["x"][..., :7]}, "inputs.x", "axis 2 is 7; the graph takes"),
        ({"mask": feeds(batch=2)["mask"]}, "inputs.mask", r"axis 0 \(batch\) is 2, but 3 in inputs\.x"),
        ({"mask": feeds(length=4)["mask"]}, "inputs.mask", r"axis 1 \(length\) is 4, but 5 in inputs\.x"),
        ({"x": feeds()["x"][:0], "mask": feeds()["mask"][:0]}, "inputs.x", "axis 0 is empty"),
        ({"x": [[1.0]]}, "inputs.x", "is a list"),
    ],
    ids=["missing", "unknown", "dtype", "rank", "fixed size", "batch", "length", "empty", "no array"],
)
def test_wrong_feeds_are_refused_by_name_and_the_next_run_works(encoder, change, field, text):
    wrong = {name: value for name, value in {**feeds(), **change}.items() if value is not None}
    with pytest.raises(ServiceError, match=text) as caught:
        encoder.run(wrong)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, Reason.INVALID_FIELD)
    assert [violation.field for violation in caught.value.violations] == [field]
    assert encoder.run(feeds())["pooled"].shape == (3, 16)


def test_an_axis_without_a_name_may_have_any_size():
    free = GraphTensor(name="x", dtype="int64", shape=(-1, -1))
    check_feeds([free], {"x": np.zeros((2, 9), np.int64)})
    assert str(free) == "int64[?, ?]"


def test_several_threads_run_one_runtime(encoder):
    inputs = [feeds(1 + seed % 5, 2 + seed % 7, seed) for seed in range(40)]
    alone = [encoder.run(one)["pooled"] for one in inputs]
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(lambda one: encoder.run(one)["pooled"], inputs))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_closed_runtime_says_so(kept):
    runtime = open_runtime(kept, threads=1)
    runtime.close()
    runtime.close()
    with pytest.raises(RuntimeError, match=f"{kept.name} is closed"):
        runtime.run(feeds())


@pytest.mark.parametrize("providers", [("cuda",), ("cuda", "cpu"), ("tensorrt",), ("npu",)])
def test_a_demanded_provider_that_is_not_there_is_refused(kept, providers):
    if providers[0] == "cuda" and torch.cuda.is_available():
        pytest.skip("CUDA is there")
    with pytest.raises(ServiceError, match=f"provider '{providers[0]}'") as caught:
        open_runtime(kept, threads=1, providers=providers)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSUPPORTED)


@pytest.fixture
def pretended_cuda(monkeypatch):
    """An ONNX Runtime that lists CUDA and then goes on with the CPU, as it does without a device."""
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("about ONNX Runtime without CUDA")
    listed = ["CUDAExecutionProvider", *onnxruntime.get_available_providers()]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.usefixtures("pretended_cuda")
def test_a_demand_for_cuda_never_ends_on_the_cpu(picture):
    with pytest.raises(ServiceError, match="provider 'cuda' did not start") as caught:
        open_runtime(picture, threads=1, providers=("cuda",))
    assert caught.value.reason is Reason.UNSUPPORTED


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.usefixtures("pretended_cuda")
def test_cudas_libraries_are_looked_for_where_pip_puts_them_once(picture, monkeypatch, caplog):
    asked = []

    def preload(directory):
        asked.append(directory)
        print("Failed to load libcublas.so.13")  # noqa: T201 (as ONNX Runtime does)

    monkeypatch.setattr(onnxruntime, "preload_dlls", preload)
    onnx._find_cuda.cache_clear()
    for _ in range(2):
        open_runtime(picture, threads=1)
    assert asked == [""]
    assert "Failed to load libcublas.so.13" in caplog.text


@pytest.mark.filterwarnings("ignore:Specified provider:UserWarning")
@pytest.mark.usefixtures("pretended_cuda")
def test_unasked_a_cuda_that_does_not_start_is_logged(picture, caplog):
    runtime = open_runtime(picture, threads=1)
    assert runtime.providers == ("cpu",)
    assert "CUDA is built in but does not start here" in caplog.text
    runtime.close()


def test_no_threads_are_refused(kept):
    with pytest.raises(ValueError, match="threads=0"):
        open_runtime(kept, threads=0)


COUNT_THREADS = """
import os, sys
import numpy as np
from pathlib import Path
from services.common.runtimes import open_runtime
runtime = open_runtime(Path(sys.argv[1]), threads=int(sys.argv[2]), providers=("cpu",))
feeds = {"image": np.zeros((8, 3, 64, 6), np.float32)}
before = len(os.listdir("/proc/self/task")) - (int(sys.argv[2]) - 1)
for _ in range(20):
    runtime.run(feeds)
print(len(os.listdir("/proc/self/task")) - before, "torch" in sys.modules)
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts threads in /proc")
@pytest.mark.parametrize("threads", [1, 3])
def test_a_session_keeps_to_its_threads_and_needs_no_torch(picture, threads):
    """A pool of n is the calling thread and n - 1 of its own."""
    shown = subprocess.run(
        [sys.executable, "-c", COUNT_THREADS, str(picture), str(threads)],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert shown.stdout.split() == [str(threads - 1), "False"]


def test_a_session_does_not_spin(picture):
    runtime = open_runtime(picture, threads=2)
    options = runtime._session.get_session_options()
    assert options.intra_op_num_threads == 2
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    runtime.close()


def test_torchscript_caps_torch(tmp_path):
    export_graphs({"model": encoder_spec()}, tmp_path / "export", Target.TORCHSCRIPT)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        open_runtime(tmp_path / "export" / "model.pt", threads=1).close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
