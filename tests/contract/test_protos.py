"""What every area of the contract promises: comments, Usage, pages, names, and what is frozen stays."""

from __future__ import annotations

import importlib

import pytest
from descriptors import PROTOS, described, elements, messages, pequod_files
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

FILES = {file.name: file for file in pequod_files()}
MESSAGES = {name: message for file in FILES.values() for name, message in messages(file).items()}
SERVICES = {f"{file.package}.{service.name}": service for file in FILES.values() for service in file.service}
METHODS = {f"{name}/{m.name}": m for name, service in SERVICES.items() for m in service.method}

# Services and their methods, with ">" where requests stream and "<" where replies do.
CONTRACT = {
    "pequod.tokenizer.v1.TokenizerService": "Tokenize Detokenize CountTokens ListEncodings",
    "pequod.tokenizer.v1.EmbeddingService": (
        "Embed EmbedStream>< Similarity Rank Neighbors Analogy WordSimilarity"
    ),
    "pequod.sampler.v1.SamplerService": "Generate GenerateStream< NextTokens Score Inspect",
    "pequod.diffusion.v1.DiffusionService": "Generate< NoiseLadder Upscale",
    "pequod.gan.v1.GanService": "Sample Interpolate< Mix Score Project< Edit Nearest",
    "pequod.finetune.v1.DatasetService": (
        "UploadDataset> GetUpload ImportDataset< GetDataset ListDatasets DeleteDataset"
    ),
    "pequod.finetune.v1.FineTuneService": (
        "CreateJob GetJob ListJobs WatchJob< CancelJob PauseJob ResumeJob ListCheckpoints "
        "PromoteCheckpoint DeleteJob"
    ),
    "pequod.model.v1.ModelService": (
        "ListModels GetModel LoadModel UnloadModel WatchModel< ExportModel< SetAlias"
    ),
}


def field(message, name):
    return next((f for f in MESSAGES[message.removeprefix(".")].field if f.name == name), None)


def test_services_and_methods():
    found = {
        name: " ".join(m.name + ">" * m.client_streaming + "<" * m.server_streaming for m in service.method)
        for name, service in SERVICES.items()
    }
    assert found == CONTRACT


@pytest.mark.parametrize("name", FILES)
def test_everything_is_documented(name):
    commented = {
        tuple(location.path): location.leading_comments.strip()
        for location in FILES[name].source_code_info.location
    }
    assert [e.name for e in elements(FILES[name]) if not commented.get(e.path)] == []


@pytest.mark.parametrize("name", FILES)
def test_enums_begin_with_unspecified(name):
    zeros = [enum.value[0] for enum in FILES[name].enum_type]
    assert all(zero.number == 0 and zero.name.endswith("_UNSPECIFIED") for zero in zeros)
    assert not any(message.enum_type for message in MESSAGES.values()), "enums stand at the top of a file"


@pytest.mark.parametrize("method", METHODS)
def test_every_reply_has_usage(method):
    usage = field(METHODS[method].output_type, "usage")
    assert usage is not None
    assert usage.type_name == ".pequod.common.v1.Usage"
    assert usage.label == FieldDescriptorProto.LABEL_OPTIONAL


@pytest.mark.parametrize("method", [name for name in METHODS if "/List" in name])
def test_lists_have_pages(method):
    request, response = METHODS[method].input_type, METHODS[method].output_type
    assert field(request, "page_size").type == FieldDescriptorProto.TYPE_UINT32
    assert field(request, "page_token").type == FieldDescriptorProto.TYPE_STRING
    assert field(response, "next_page_token").type == FieldDescriptorProto.TYPE_STRING
    repeated = [f for f in MESSAGES[response.removeprefix(".")].field if f.label == f.LABEL_REPEATED]
    assert len(repeated) == 1


@pytest.mark.parametrize("method", [m for m in METHODS if ".finetune." not in m and "/List" not in m])
def test_model_is_the_first_field(method):
    """The gateway reads it from the raw request, to route and to count."""
    request = METHODS[method].input_type
    name = "name" if method.endswith("/SetAlias") else "model"
    model = field(request, name)
    assert (model.number, model.type) == (1, FieldDescriptorProto.TYPE_STRING)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("pequod.sampler.v1.GenerateRequest", "pequod.sampler.v1.GenerateStreamRequest"),
        ("pequod.tokenizer.v1.EmbedRequest", "pequod.tokenizer.v1.EmbedStreamRequest"),
    ],
)
def test_streams_take_the_same_request(one, other):
    def fields(message):
        return {f.name: (f.number, f.type, f.type_name, f.label) for f in MESSAGES[message].field}

    assert fields(one) == fields(other)


@pytest.mark.parametrize("package", sorted({file.package for file in FILES.values()}))
def test_stubs_gather_an_area(package):
    area = importlib.import_module(package)
    assert all(hasattr(area, name) for name in area.__all__)
    files = [file for file in FILES.values() if file.package == package]
    wanted = {message.name for file in files for message in file.message_type}
    wanted |= {f"{service.name}Stub" for file in files for service in file.service}
    wanted |= {value.name for file in files for enum in file.enum_type for value in enum.value}
    assert wanted <= set(area.__all__)


def test_only_the_standard_library_of_protobuf_is_imported():
    """The contract must compile without the network."""
    imported = {name for file in described().file for name in file.dependency}
    assert all(name.startswith(("google/protobuf/", "pequod/", "inference/")) for name in imported)


FROZEN = [
    file
    for file in FileDescriptorSet.FromString((PROTOS / "baseline/frozen.binpb").read_bytes()).file
    if file.package.startswith("pequod.")
]


def test_areas_that_ship_are_frozen():
    assert {file.package for file in FROZEN} >= {"pequod.common.v1", "pequod.model.v1", "pequod.sampler.v1"}


@pytest.mark.parametrize("frozen", FROZEN, ids=lambda file: file.name)
def test_frozen_messages_keep_their_fields(frozen):
    """The part of ``buf breaking`` that matters on the wire and needs no Node."""

    def facts(file):
        found = {
            (name, f.name, f.number, f.type, f.type_name, f.label)
            for name, message in messages(file).items()
            for f in message.field
        }
        found |= {(enum.name, value.name, value.number) for enum in file.enum_type for value in enum.value}
        found |= {
            (service.name, m.name, m.input_type, m.output_type, m.client_streaming, m.server_streaming)
            for service in file.service
            for m in service.method
        }
        return found

    assert facts(frozen) - facts(FILES[frozen.name]) == set()
