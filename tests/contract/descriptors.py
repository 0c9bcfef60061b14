"""The protos as descriptors with their comments, and names of everything in them."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

PROTOS = Path(__file__).parents[2] / "protos"


@functools.cache
def described() -> FileDescriptorSet:
    """Every proto of the repository, comments included."""
    files = [str(p.relative_to(PROTOS)) for area in ("pequod", "inference") for p in _protos(area)]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "all.binpb"
        well_known = resources.files("grpc_tools") / "_proto"
        flags = [f"-I{PROTOS}", f"-I{well_known}", f"--descriptor_set_out={out}", "--include_source_info"]
        assert protoc.main(["protoc", *flags, *files]) == 0
        return FileDescriptorSet.FromString(out.read_bytes())


def _protos(area: str) -> list[Path]:
    return sorted((PROTOS / area).rglob("*.proto"))


def pequod_files() -> list[FileDescriptorProto]:
    """The protos of Pequod's own areas."""
    return [f for f in described().file if f.package.startswith("pequod.")]


def messages(file: FileDescriptorProto, *, map_entries: bool = False) -> dict[str, DescriptorProto]:
    """Messages of a file by full name, nested ones included; what maps are made of only if asked for."""
    found: dict[str, DescriptorProto] = {}

    def walk(message: DescriptorProto, prefix: str) -> None:
        if message.options.map_entry and not map_entries:
            return
        found[f"{prefix}.{message.name}"] = message
        for nested in message.nested_type:
            walk(nested, f"{prefix}.{message.name}")

    for message in file.message_type:
        walk(message, file.package)
    return found


@dataclass(frozen=True)
class Element:
    """Something a reader of a proto meets, and where its comment stands."""

    name: str
    path: tuple[int, ...]


def elements(file: FileDescriptorProto) -> Iterator[Element]:
    """Messages, fields, oneofs, enums, values, services and methods, by descriptor.proto's numbers."""
    for i, message in enumerate(file.message_type):
        yield from _message(message, (4, i), file.package)
    for i, enum in enumerate(file.enum_type):
        yield from _enum(enum, (5, i), file.package)
    for i, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield Element(name, (6, i))
        yield from (Element(f"{name}.{m.name}", (6, i, 2, k)) for k, m in enumerate(service.method))


def _message(message: DescriptorProto, path: tuple[int, ...], prefix: str) -> Iterator[Element]:
    if message.options.map_entry:
        return
    name = f"{prefix}.{message.name}"
    yield Element(name, path)
    yield from (Element(f"{name}.{field.name}", (*path, 2, k)) for k, field in enumerate(message.field))
    # The oneof that stands for a field's presence has no line of its own.
    unseen = {field.oneof_index for field in message.field if field.proto3_optional}
    for k, oneof in enumerate(message.oneof_decl):
        if k not in unseen:
            yield Element(f"{name}.{oneof.name}", (*path, 8, k))
    for k, nested in enumerate(message.nested_type):
        yield from _message(nested, (*path, 3, k), name)
    for k, enum in enumerate(message.enum_type):
        yield from _enum(enum, (*path, 4, k), name)


def _enum(enum: EnumDescriptorProto, path: tuple[int, ...], prefix: str) -> Iterator[Element]:
    yield Element(f"{prefix}.{enum.name}", path)
    for k, value in enumerate(enum.value):
        yield Element(f"{prefix}.{enum.name}.{value.name}", (*path, 2, k))
