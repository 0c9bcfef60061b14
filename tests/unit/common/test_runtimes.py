"""Runtimes: what they compute, wrong feeds and unsafe files they refuse, threads they keep to."""

import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from services.common.errors import Code, Reason, ServiceError
from services.common.export import GraphSpec, Target, export_graphs
from services.common.runtimes import GraphTensor, open_runtime
from services.common.runtimes.tensors import check_feeds
from tests.unit.common.tiny_modules import FREE, Encoder, Picture, encoder_inputs, picture_inputs

FILES = {Target.ONNX: "model.onnx", Target.TORCHSCRIPT: "model.pt"}


@pytest.fixture(scope="module", params=FILES, ids=str)
def kept(request, tmp_path_factory):
    """An exported encoder: the artefact's path. Tests that damage it copy it first."""
    folder = tmp_path_factory.mktemp("kept") / "export"
    spec = GraphSpec(Encoder(), encoder_inputs(), ("hidden", "pooled"), FREE)
    export_graphs({"model": spec}, folder, request.param)
    return folder / FILES[request.param]


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    folder = tmp_path_factory.mktemp("picture") / "export"
    free = {"image": {0: "batch", 2: "height"}}
    export_graphs({"model": GraphSpec(Picture(), picture_inputs(), ("image2x",), free)}, folder, Target.ONNX)
    return folder / "model.onnx"


@pytest.fixture
def encoder(kept):
    runtime = open_runtime(kept, threads=1, providers=("cpu",))
    yield runtime
    runtime.close()


@pytest.fixture
def copied(kept, tmp_path):
    """The artefact and its manifest, free to be damaged."""
    for file in kept.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / kept.name


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
def test_unasked_a_cuda_that_does_not_start_is_logged(picture, caplog):
    runtime = open_runtime(picture, threads=1)
    assert runtime.providers == ("cpu",)
    assert "CUDA is built in but does not start here" in caplog.text
    runtime.close()


def test_a_changed_file_of_an_export_is_refused(copied):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    with pytest.raises(ServiceError, match=copied.name) as caught:
        open_runtime(copied, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, Reason.FILE_TAMPERED)


def test_torchscript_needs_our_own_export_manifest(copied):
    manifest = copied.with_name("export.json")
    record = json.loads(manifest.read_text())
    record["files"] = []
    for written in (json.dumps(record), None):
        manifest.write_text(written) if written else manifest.unlink()
        if copied.suffix == ".onnx":
            open_runtime(copied, threads=1).close()  # ONNX holds no code: any file may be read
            continue
        with pytest.raises(ServiceError, match="only when its digest stands") as caught:
            open_runtime(copied, threads=1)
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT)


def test_a_manifest_that_is_none_disowns_its_files(copied):
    copied.with_name("export.json").write_text("{}")
    with pytest.raises(ServiceError, match=r"export\.json is no export manifest") as caught:
        open_runtime(copied, threads=1)
    assert caught.value.reason is Reason.FILE_TAMPERED


def test_garbage_that_a_manifest_vouches_for_is_a_failed_load(copied):
    manifest = copied.with_name("export.json")
    digest = json.loads(manifest.read_text())["files"][0]["sha256"]
    copied.write_bytes(b"garbage")
    fresh = hashlib.sha256(b"garbage").hexdigest()
    manifest.write_text(manifest.read_text().replace(digest, fresh))
    with pytest.raises(ServiceError, match=f"{copied.name} cannot be opened") as caught:
        open_runtime(copied, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.LOAD_FAILED)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x07" + bytes(100)])
def test_garbage_named_onnx_is_a_failed_load(tmp_path, content):
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ServiceError, match=r"model\.onnx cannot be opened") as caught:
        open_runtime(file, threads=1)
    assert caught.value.reason is Reason.LOAD_FAILED


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "model.pkl", "model.ckpt"])
def test_a_pickle_is_never_opened(tmp_path, name):
    mark = tmp_path / "ran"
    torch.save({"weights": Bomb(mark)}, tmp_path / name)
    with pytest.raises(ServiceError) as caught:
        open_runtime(tmp_path / name, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("model.safetensors", Reason.UNSUPPORTED), ("absent.onnx", Reason.LOAD_FAILED)]
)
def test_other_files_are_refused_by_name(tmp_path, name, reason):
    with pytest.raises(ServiceError, match=name) as caught:
        open_runtime(tmp_path / name, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, reason)


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
    folder = tmp_path / "export"
    spec = GraphSpec(Encoder(), encoder_inputs(), ("hidden", "pooled"), FREE)
    export_graphs({"model": spec}, folder, Target.TORCHSCRIPT)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        open_runtime(folder / "model.pt", threads=1).close()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
