"""The KServe v2 / Triton protocol as others speak it: numbers, types, and bytes their clients wrote."""

from __future__ import annotations

from pathlib import Path

from descriptors import described, messages
from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from inference import (
    TYPE_FP32,
    ModelConfigResponse,
    ModelInferRequest,
    ModelStreamInferResponse,
    RepositoryModelLoadRequest,
)

FILES = [file for file in described().file if file.package == "inference"]
PUBLISHED = {
    tuple(line.split())
    for line in (Path(__file__).parent / "kserve_v2.txt").read_text().splitlines()
    if not line.startswith("#")
}
# Fields of KServe's own server, whose clients read them; Triton's replies are empty there.
OF_KSERVE = {
    ("RepositoryModelLoadResponse.model_name", "1", "single", "string", "-"),
    ("RepositoryModelLoadResponse.isLoaded", "2", "single", "bool", "-"),
    ("RepositoryModelUnloadResponse.model_name", "1", "single", "string", "-"),
    ("RepositoryModelUnloadResponse.isUnloaded", "2", "single", "bool", "-"),
}

# Written by tritonclient's own messages.
INFER_REQUEST = (
    b'\n\x05words\x12\x011\x1a\x017"\x14\n\x0esequence_start\x12\x02\x08\x01'
    b'*(\n\x04TEXT\x12\x05BYTES\x1a\x01\x01"\x16\n\x10binary_data_size\x12\x02\x10\x06'
    b"2\x08\n\x06VECTOR:\x06\x02\x00\x00\x00hi"
)
CONFIG_RESPONSE = (
    b"\ne\n\x04moby\x12\x10onnxruntime_onnx\x1a\x04\n\x02\x08\x01 \x08"
    b'*\x12\n\x01x\x10\x0b"\x0b\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x042\x08\n\x01y\x10\t\x1a\x01\x02'
    b":\x04\x10\x01 \x02Z\x02\x10dr\x08\n\x01k\x12\x03\n\x01v\x8a\x01\x0bonnxruntime\x9a\x01\x02\x08\x01"
)
STREAM_RESPONSE = (
    b"\n\x02no\x12&\n\x05words*\x19\n\x01V\x12\x04FP32\x1a\x02\x01\x02"
    b"*\n2\x08\x00\x00\x80?\x00\x00\x00@2\x02ab"
)


def field_row(name, message, field):
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return (
        f"{name}.{field.name}",
        str(field.number),
        "repeated" if field.label == field.LABEL_REPEATED else "single",
        field.type_name.removeprefix(".inference.") or kind,
        message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else "-",
    )


def enum_rows(name, enum):
    return {(f"{name}{enum.name}.{value.name}", str(value.number), "value", "-", "-") for value in enum.value}


def method_row(service, method):
    streams = (method.client_streaming, method.server_streaming)
    types = (method.input_type, method.output_type)
    return (
        f"{service.name}/{method.name}",
        "-",
        "-".join("stream" if stream else "single" for stream in streams),
        "->".join(name.removeprefix(".inference.") for name in types),
        "-",
    )


def ours():
    rows = set()
    for file in FILES:
        for full, message in messages(file, map_entries=True).items():
            name = full.removeprefix("inference.")
            rows |= {field_row(name, message, field) for field in message.field}
            rows |= {row for enum in message.enum_type for row in enum_rows(f"{name}.", enum)}
        rows |= {row for enum in file.enum_type for row in enum_rows("", enum)}
        rows |= {method_row(service, method) for service in file.service for method in service.method}
    return rows


def test_names_numbers_and_types_are_the_published_ones():
    assert ours() == PUBLISHED | OF_KSERVE


def test_request_of_a_triton_client_is_read():
    request = ModelInferRequest.FromString(INFER_REQUEST)
    assert (request.model_name, request.model_version, request.id) == ("words", "1", "7")
    assert request.parameters["sequence_start"].bool_param
    assert (request.inputs[0].name, request.inputs[0].datatype, list(request.inputs[0].shape)) == (
        "TEXT",
        "BYTES",
        [1],
    )
    assert request.inputs[0].parameters["binary_data_size"].int64_param == 6
    assert request.outputs[0].name == "VECTOR"
    assert list(request.raw_input_contents) == [b"\x02\x00\x00\x00hi"]
    assert request.SerializeToString(deterministic=True) == INFER_REQUEST


def test_replies_are_written_as_triton_writes_them():
    reply = ModelStreamInferResponse(error_message="no")
    reply.infer_response.model_name = "words"
    tensor = reply.infer_response.outputs.add(name="V", datatype="FP32", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1, 2])
    reply.infer_response.raw_output_contents.append(b"ab")
    assert reply.SerializeToString(deterministic=True) == STREAM_RESPONSE


def test_configuration_of_triton_is_read():
    config = ModelConfigResponse.FromString(CONFIG_RESPONSE).config
    assert (config.name, config.backend, config.max_batch_size) == ("moby", "onnxruntime", 8)
    assert (config.input[0].data_type, list(config.input[0].dims)) == (TYPE_FP32, [-1, 4])
    assert config.model_transaction_policy.decoupled
    assert config.parameters["k"].string_value == "v"
    assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert ModelConfigResponse(config=config).SerializeToString(deterministic=True) == CONFIG_RESPONSE


def test_load_of_a_kserve_client_has_the_model_in_the_first_field():
    request = RepositoryModelLoadRequest.FromString(b"\n\x05words")
    assert (request.repository_name, request.model_name) == ("words", "")
