"""Exports: written, compared with eager at several sizes, described by a manifest, published whole."""

import hashlib
import json
import sys
import threading
from datetime import UTC, datetime
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from services.common.errors import Code, Reason, ServiceError
from services.common.export import GraphSpec, Target, export_graphs, export_module, verify
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.export.parity import max_abs_error, min_cosine
from services.common.export.triton import config_text
from services.common.runtimes import GraphTensor, open_runtime
from services.common.store import Kind, Manifest, ModelVersion
from tests.unit.common.tiny_modules import FREE, Encoder, Picture, encoder_inputs, picture_inputs


def encoder_spec(**changes):
    settings = {"example_inputs": encoder_inputs(), "output_names": ("hidden", "pooled"), "dynamic": FREE}
    return GraphSpec(**{"module": Encoder(), **settings, **changes})


def picture_spec():
    free = {"image": {0: "batch", 2: "height"}}
    return GraphSpec(Picture(), picture_inputs(), ("image2x",), free)


def leftovers(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


@pytest.mark.parametrize("target", [Target.ONNX, Target.TORCHSCRIPT])
def test_an_export_equals_eager_at_other_sizes_and_says_by_how_much(tmp_path, target):
    folder = tmp_path / "out"
    manifest = export_module(Encoder(), encoder_inputs(), ("hidden", "pooled"), FREE, folder, target)
    graph = manifest.graphs["model"]
    assert [figure.output for figure in graph.parity] == ["hidden", "pooled"]
    for figure in graph.parity:
        assert 0 <= figure.max_abs_error <= 1e-5 < figure.tolerance
        assert 0.999999 <= figure.min_cosine <= 1
    assert graph.sizes_tried[0] == {"batch": 3, "length": 5}
    for axis, example in (("batch", 3), ("length", 5)):
        assert len({sizes[axis] for sizes in graph.sizes_tried} - {example}) >= 2
    assert {"batch": 1, "length": 5} in graph.sizes_tried
    assert 0 <= graph.batched_vs_alone <= 1e-6
    assert manifest.opset == (0 if target is Target.TORCHSCRIPT else manifest.opset)
    assert manifest.opset >= 18 or target is Target.TORCHSCRIPT
    assert manifest.runtime_versions["torch"] == torch.__version__
    assert verify(folder) == manifest
    assert leftovers(folder) == []


def test_the_manifest_describes_tensors_and_files(tmp_path):
    folder = tmp_path / "out"
    manifest = export_graphs(
        {"text": encoder_spec(), "image": picture_spec()}, folder, Target.ONNX, name="pair", source="d" * 64
    )
    assert [str(tensor) for tensor in manifest.graphs["text"].inputs] == [
        "float32[batch, length, 8]",
        "float32[batch, length]",
    ]
    assert [tensor.shape for tensor in manifest.graphs["text"].outputs] == [
        ("batch", "length", 16),
        ("batch", 16),
    ]
    # Twice the height follows the free axis without being it.
    assert manifest.graphs["image"].outputs[0].shape == ("batch", 4, -1, 12)
    assert [entry.path for entry in manifest.files] == ["pair-image.onnx", "pair-text.onnx"]
    for entry in manifest.files:
        content = (folder / entry.path).read_bytes()
        assert (entry.size_bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert manifest.source == "d" * 64


def test_the_file_holds_no_paths_of_the_machine_that_wrote_it(tmp_path):
    export_graphs({"model": picture_spec()}, tmp_path / "out", Target.ONNX)
    content = (tmp_path / "out" / "model.onnx").read_bytes()
    assert b"tiny_modules.py" not in content
    assert b"site-packages" not in content


def test_exporting_leaves_the_module_as_it_was(tmp_path):
    module = Encoder().train()
    module.norm.eval()
    export_graphs({"model": encoder_spec(module=module)}, tmp_path / "out", Target.TORCHSCRIPT)
    assert module.training
    assert module.dropout.training
    assert not module.norm.training


def test_steps_are_reported_and_may_end_the_export(tmp_path):
    steps = []
    export_graphs(
        {"model": picture_spec()}, tmp_path / "a", Target.TORCHSCRIPT, report=lambda *s: steps.append(s)
    )
    assert steps == [(0, 2, "writing model"), (1, 2, "comparing model with eager"), (2, 2, "done")]

    def leave(done, total, message):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_graphs({"model": picture_spec()}, tmp_path / "b", Target.TORCHSCRIPT, report=leave)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


class FrozenSize(nn.Module):
    """Bakes the traced length into the graph."""

    def forward(self, x):
        return x * torch.arange(int(x.shape[1]), dtype=torch.float32).sum().item()


class Leaky(nn.Module):
    """A row's answer depends on the other rows."""

    def forward(self, x):
        return x - x.mean(0, keepdim=True)


class Noisy(nn.Module):
    """Draws its own noise."""

    def forward(self, x):
        return x + torch.rand_like(x)


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


def test_a_failed_export_keeps_the_one_before(tmp_path):
    folder = tmp_path / "out"
    before = export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT)
    strict = GraphSpec(Noisy(), {"x": torch.rand(2, 4)}, ("y",))
    with pytest.raises(ServiceError, match="graph 'model'"):
        export_graphs({"model": strict}, folder, Target.TORCHSCRIPT)
    assert verify(folder) == before
    assert leftovers(folder) == []


def test_an_export_replaces_the_one_before(tmp_path):
    folder = tmp_path / "out"
    export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT, name="old")
    export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT, name="new")
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "new.pt"]
    assert leftovers(folder) == []


class Branches(nn.Module):
    """Control flow on values: no static graph can hold it."""

    def forward(self, x):
        return x + 1 if x.sum() > 0 else x - 1


def test_a_module_without_a_static_graph_is_refused(tmp_path):
    with pytest.raises(ServiceError, match="Branches cannot be exported as ONNX") as caught:
        export_module(Branches(), {"x": torch.ones(2, 2)}, ("y",), {}, tmp_path / "out", Target.ONNX)
    assert caught.value.reason is Reason.EXPORT_FAILED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"example_inputs": {"z": torch.ones(2, 2)}}, r"input 'z': forward takes x, mask"),
        ({"dynamic": {"z": {0: "batch"}}}, "no input 'z'"),
        ({"dynamic": {"x": {3: "batch"}}}, "no axis 3"),
        ({"example_inputs": encoder_inputs(batch=1)}, r"free axis 0 \(batch\) must be at least 2"),
    ],
)
def test_a_spec_that_cannot_be_exported_is_refused_early(changes, text):
    with pytest.raises(ValueError, match=text):
        encoder_spec(**changes)


def test_outputs_must_be_named_one_by_one(tmp_path):
    with pytest.raises(ValueError, match="returns 2 outputs, 1 are named"):
        export_graphs({"model": encoder_spec(output_names=("hidden",))}, tmp_path / "out", Target.TORCHSCRIPT)
    assert list(tmp_path.iterdir()) == []


def test_chosen_sizes_replace_the_usual_ones():
    spec = encoder_spec(sizes={"length": (8, 16)})
    assert {sizes["length"] for sizes in spec.other_sizes()} == {5, 8, 16}


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_verify_names_the_damaged_file(tmp_path, damage):
    folder = tmp_path / "out"
    export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT)
    file = folder / "model.pt"
    if damage == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    else:
        file.unlink()
    with pytest.raises(ServiceError, match=r"model\.pt") as caught:
        verify(folder)
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, Reason.FILE_TAMPERED)


@pytest.mark.parametrize("content", [None, "", "[]", '{"target": "onnx"}'])
def test_a_folder_without_a_manifest_is_no_export(tmp_path, content):
    if content is not None:
        (tmp_path / "export.json").write_text(content)
    with pytest.raises(ServiceError, match=r"export\.json is") as caught:
        verify(tmp_path)
    assert caught.value.reason is Reason.FILE_TAMPERED


def test_a_triton_export_is_a_model_repository(tmp_path):
    folder = tmp_path / "repository"
    manifest = export_graphs({"model": encoder_spec()}, folder, Target.TRITON, name="tiny")
    assert [entry.path for entry in manifest.files] == ["tiny/1/model.onnx", "tiny/config.pbtxt"]
    assert (folder / "tiny" / "config.pbtxt").read_text() == (
        'name: "tiny"\n'
        'backend: "onnxruntime"\n'
        "max_batch_size: 64\n"
        "input [\n"
        '  {\n    name: "x"\n    data_type: TYPE_FP32\n    dims: [ -1, 8 ]\n  },\n'
        '  {\n    name: "mask"\n    data_type: TYPE_FP32\n    dims: [ -1 ]\n  }\n'
        "]\n"
        "output [\n"
        '  {\n    name: "hidden"\n    data_type: TYPE_FP32\n    dims: [ -1, 16 ]\n  },\n'
        '  {\n    name: "pooled"\n    data_type: TYPE_FP32\n    dims: [ 16 ]\n  }\n'
        "]\n"
        "dynamic_batching { }\n"
    )
    runtime = open_runtime(folder / "tiny" / "1" / "model.onnx", threads=1)
    feeds = {name: value.numpy() for name, value in encoder_inputs(batch=2).items()}
    assert runtime.run(feeds)["pooled"].shape == (2, 16)
    runtime.close()


def test_without_a_common_batch_axis_triton_does_not_batch():
    table = GraphTensor(name="table", dtype="int64", shape=(4, 2))
    row = GraphTensor(name="row", dtype="float16", shape=("batch",))
    text = config_text("lookup", [table, row], [row], "batch")
    assert "max_batch_size: 0" in text
    assert "dims: [ 4, 2 ]" in text
    assert "dims: [ -1 ]" in text
    assert "dynamic_batching" not in text
    alone = config_text("scores", [row], [row], "batch")
    assert alone.count("dims: [ 1 ]\n    reshape { shape: [ ] }") == 2


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


def model_version(family="tiny"):
    manifest = Manifest(
        name="tiny-picture",
        version="1",
        kind=Kind.UPSCALER,
        family=family,
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return ModelVersion(manifest, layer="user")


class Counting:
    """A graphs function that counts its calls."""

    def __init__(self, make=picture_spec):
        self.calls = 0
        self._make = make

    def __call__(self, version, folder):
        self.calls += 1
        return {"model": self._make()}


def quiet(done, total, message):
    """No report."""


def test_the_store_exporter_keeps_an_export_under_the_versions_digest(tmp_path):
    graphs = Counting()
    exporter = StoreExporter(tmp_path, graphs)
    version = model_version()
    first = exporter.export(version, tmp_path, "torchscript", False, quiet)
    assert first.location == tmp_path / "exports" / version.digest / "torchscript"
    assert not first.reused
    assert [entry.path for entry in first.files] == ["tiny-picture.pt"]
    assert [figure.output for figure in first.parity] == ["image2x"]
    assert json.loads((first.location / "export.json").read_text())["source"] == version.digest
    again = exporter.export(version, tmp_path, "torchscript", False, quiet)
    assert again.reused
    assert (again.location, again.files, again.parity) == (first.location, first.files, first.parity)
    assert graphs.calls == 1
    forced = exporter.export(version, tmp_path, "torchscript", True, quiet)
    assert not forced.reused
    assert graphs.calls == 2


def test_a_damaged_kept_export_is_made_again(tmp_path):
    exporter = StoreExporter(tmp_path, Counting())
    first = exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    (first.location / "tiny-picture.pt").write_bytes(b"garbage")
    again = exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    assert not again.reused
    assert verify(again.location).files == again.files


def test_two_callers_at_once_export_once(tmp_path):
    graphs = Counting()
    exporter = StoreExporter(tmp_path, graphs)
    results = []
    callers = [
        threading.Thread(
            target=lambda: results.append(
                exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
            )
        )
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(result.reused for result in results) == [False, True]
    assert graphs.calls == 1


def test_a_failed_store_export_leaves_nothing(tmp_path):
    exporter = StoreExporter(tmp_path, Counting(lambda: GraphSpec(Noisy(), {"x": torch.rand(2, 4)}, ("y",))))
    with pytest.raises(ServiceError) as caught:
        exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    assert caught.value.reason is Reason.PARITY_FAILED
    assert not list(tmp_path.rglob("*.pt"))
    assert not list((tmp_path / "exports").rglob("export.json"))


@pytest.fixture
def tiny_families(tmp_path, monkeypatch):
    folder = tmp_path / "tiny_families"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plain.py").write_text("")
    (folder / "graphed.py").write_text(
        "def graphs(config, folder):\n    return {'model': (config, folder)}\n"
    )
    package = ModuleType("tiny_families")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "tiny_families", package)
    yield package
    for name in ("tiny_families.plain", "tiny_families.graphed"):
        sys.modules.pop(name, None)


def test_graphs_come_from_the_versions_family(tiny_families, tmp_path):
    graphs = family_graphs(tiny_families)
    assert graphs(model_version("graphed"), tmp_path) == {"model": ({}, tmp_path)}
    with pytest.raises(ServiceError, match="tiny-picture:1: family 'plain' has no graph to export"):
        graphs(model_version("plain"), tmp_path)
    with pytest.raises(ServiceError, match="no family 'absent'"):
        graphs(model_version("absent"), tmp_path)
