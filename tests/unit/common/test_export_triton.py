"""Triton: the repository layout and the text of config.pbtxt."""

from google.protobuf import text_format

from inference import TYPE_FP32, ModelConfig
from services.common.export import Target, export_graphs
from services.common.export.triton import config_text
from services.common.runtimes import GraphTensor, open_runtime
from tests.unit.common.tiny_modules import encoder_inputs, encoder_spec


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
    config = text_format.Parse((folder / "tiny/config.pbtxt").read_text(), ModelConfig())
    assert [each.data_type for each in config.input] == [TYPE_FP32, TYPE_FP32]
    assert [list(each.dims) for each in config.output] == [[-1, 16], [16]]
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
    (only,) = text_format.Parse(alone, ModelConfig()).input
    assert (list(only.dims), only.HasField("reshape"), list(only.reshape.shape)) == ([1], True, [])
    assert alone.count("dims: [ 1 ]\n    reshape { shape: [ ] }") == 2
