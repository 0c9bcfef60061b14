"""Generates Python stubs beside the protos: messages, services, type stubs and one ``__init__`` an area.

Run from the repository root: ``python protos/generate.py``. Areas then import as
``from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub``.
"""

from __future__ import annotations

import shutil
import sys
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parent


def generate(root: Path = ROOT) -> int:
    """Write all stubs under ``root``; returns how many proto files were compiled."""
    files = sorted(str(p.relative_to(root)) for p in root.rglob("*.proto"))
    well_known = str(resources.files("grpc_tools") / "_proto")
    descriptors = root / ".descriptors.binpb"
    typed = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    type_flags = [f"--mypy_out=quiet:{root}", f"--mypy_grpc_out=quiet:{root}"] if typed else []
    plugins = [
        f"--plugin=protoc-gen-mypy{kind}={typed}{kind}" for kind in ("", "_grpc") if typed
    ]
    code = protoc.main(
        [
            "protoc",
            f"-I{root}",
            f"-I{well_known}",
            f"--python_out={root}",
            f"--grpc_python_out={root}",
            f"--descriptor_set_out={descriptors}",
            *plugins,
            *type_flags,
            *files,
        ]
    )
    if code:
        raise SystemExit(f"protoc failed with exit code {code}")
    described = FileDescriptorSet.FromString(descriptors.read_bytes())
    descriptors.unlink()
    for package in sorted({Path(name).parent for name in files}):
        area = [f for f in described.file if Path(f.name).parent == package]
        (root / package / "__init__.py").write_text(_init_text(area))
    return len(files)


def _init_text(files: list[FileDescriptorProto]) -> str:
    """Source of the ``__init__`` that gathers one area's messages, enums, values and services."""
    lines = [f'"""Messages and services of ``{files[0].package}``. Generated; do not edit."""', ""]
    exported: list[str] = []
    for file in files:
        stem = file.name.removesuffix(".proto").replace("/", ".")
        names = [m.name for m in file.message_type] + [e.name for e in file.enum_type]
        names += [value.name for e in file.enum_type for value in e.value]
        lines += [f"from {stem}_pb2 import {name}" for name in names]
        stubs = [f"{s.name}{suffix}" for s in file.service for suffix in ("Stub", "Servicer")]
        stubs += [f"add_{s.name}Servicer_to_server" for s in file.service]
        lines += [f"from {stem}_pb2_grpc import {name}" for name in stubs]
        exported += [*names, *stubs]
    quoted = ", ".join(f'"{name}"' for name in exported)
    return "\n".join([*lines, "", f"__all__ = [{quoted}]", ""])


if __name__ == "__main__":
    sys.stdout.write(f"generated stubs for {generate()} proto files\n")
