"""Generates Python stubs beside the protos: messages, services, type stubs and one ``__init__`` an area.

Run from anywhere: ``python protos/generate.py``. Areas then import as
``from pequod.sampler.v1 import GenerateRequest, SamplerServiceStub``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped]

ROOT = Path(__file__).parent
# Folders that hold protos, and nothing written by hand beside them.
PACKAGES = ("pequod", "inference")


def generate(root: Path = ROOT) -> int:
    """Bring the stubs under ``root`` up to date; returns how many files were written or removed.

    Stubs are made elsewhere first: a mistake in a proto leaves the old ones, and what did not
    change is not touched. Raises SystemExit when protoc refuses a proto.
    """
    protos = sorted(p.relative_to(root) for package in PACKAGES for p in (root / package).rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        described = _compile(root, protos, out)
        for area in {proto.parent for proto in protos}:
            files = [f for f in described.file if Path(f.name).parent == area]
            (out / area / "__init__.py").write_text(_init_text(files))
        made = {p.relative_to(out) for p in out.rglob("*.py*")}
        changed = sum(_update(out / path, root / path) for path in sorted(made))
    return changed + _remove(root, _generated(root) - made)


def _compile(root: Path, protos: Iterable[Path], out: Path) -> FileDescriptorSet:
    """Run protoc into ``out``. Type stubs need mypy-protobuf, a development dependency."""
    mypy = shutil.which("protoc-gen-mypy", path=str(Path(sys.executable).parent))
    typed = [
        flag
        for kind in (("", "_grpc") if mypy else ())
        for flag in (f"--plugin=protoc-gen-mypy{kind}={mypy}{kind}", f"--mypy{kind}_out=quiet:{out}")
    ]
    descriptors = out / "descriptors.binpb"
    code = protoc.main(
        [
            "protoc",
            f"-I{root}",
            f"-I{resources.files('grpc_tools') / '_proto'}",
            f"--python_out={out}",
            f"--grpc_python_out={out}",
            f"--descriptor_set_out={descriptors}",
            *typed,
            *map(str, protos),
        ]
    )
    if code:
        raise SystemExit(f"protoc failed with exit code {code}; the stubs are as they were")
    return FileDescriptorSet.FromString(descriptors.read_bytes())


def _update(new: Path, old: Path) -> bool:
    """Put ``new`` in the place of ``old`` in one step, unless they are equal."""
    content = new.read_bytes()
    if old.is_file() and old.read_bytes() == content:
        return False
    # Written beside it first: another process may be importing the old one.
    part = old.with_suffix(".part")
    part.write_bytes(content)
    part.replace(old)
    return True


def _generated(root: Path) -> set[Path]:
    """Every generated file under ``root``, those of protos that are gone included."""
    patterns = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "__init__.py")
    found = (p for package in PACKAGES for pattern in patterns for p in (root / package).rglob(pattern))
    return {p.relative_to(root) for p in found}


def _remove(root: Path, stale: Iterable[Path]) -> int:
    paths = [root / path for path in stale]
    for path in paths:
        path.unlink()
    return len(paths)


def _init_text(files: list[FileDescriptorProto]) -> str:
    """Source of the ``__init__`` that gathers one area's messages, enums, values and services."""
    lines = [f'"""Messages and services of ``{files[0].package}``. Generated; do not edit."""', ""]
    exported: list[str] = []
    for file in files:
        module = file.name.removesuffix(".proto").replace("/", ".")
        names = [m.name for m in file.message_type] + [e.name for e in file.enum_type]
        names += [value.name for e in file.enum_type for value in e.value]
        lines += [f"from {module}_pb2 import {name}" for name in names]
        stubs = [f"{s.name}{suffix}" for s in file.service for suffix in ("Stub", "Servicer")]
        stubs += [f"add_{s.name}Servicer_to_server" for s in file.service]
        lines += [f"from {module}_pb2_grpc import {name}" for name in stubs]
        exported += [*names, *stubs]
    quoted = ", ".join(f'"{name}"' for name in exported)
    return "\n".join([*lines, "", f"__all__ = [{quoted}]", ""])


if __name__ == "__main__":
    sys.stdout.write(f"stubs: {generate()} files changed\n")
