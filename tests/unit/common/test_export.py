"""Exports: written, compared with eager at several sizes, described by a manifest, published whole."""

import hashlib

import pytest
import torch

from services.common.errors import Code, Reason, ServiceError
from services.common.export import Target, export_graphs, export_module, verify
from tests.unit.common.tiny_modules import (
    FREE,
    Encoder,
    Placed,
    encoder_inputs,
    encoder_spec,
    leftovers,
    picture_spec,
)


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


def test_an_export_replaces_the_one_before(tmp_path):
    folder = tmp_path / "out"
    export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT, name="old")
    export_graphs({"model": picture_spec()}, folder, Target.TORCHSCRIPT, name="new")
    assert sorted(path.name for path in folder.iterdir()) == ["export.json", "new.pt"]
    assert leftovers(folder) == []


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


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_what_a_torchscript_file_makes_itself_lies_where_its_inputs_lie(tmp_path):
    export_module(
        Placed(),
        {"x": torch.ones(3, 4)},
        ("seen", "same"),
        {"x": {0: "length"}},
        tmp_path / "out",
        Target.TORCHSCRIPT,
    )
    module = torch.jit.load(next((tmp_path / "out").glob("*.pt")))
    parts = [part for part in module.modules() if hasattr(part, "code")]
    assert sum("ops.prim.device(x)" in part.code for part in parts) == 2
    assert not any("torch.device(" in part.code for part in parts)


def test_a_part_that_makes_tensors_out_of_nothing_is_no_torchscript(tmp_path):
    class Out(torch.nn.Module):
        def forward(self, count):
            return torch.arange(count)

    class Whole(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = Out()

        def forward(self, x):
            return x + self.out(4)

    with pytest.raises(ServiceError, match="Out cannot be exported as TorchScript") as caught:
        export_module(
            Whole(), {"x": torch.ones(3, 4)}, ("y",), {"x": {0: "b"}}, tmp_path / "out", Target.TORCHSCRIPT
        )
    assert caught.value.reason is Reason.EXPORT_FAILED
