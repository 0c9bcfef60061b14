"""Model files are treated as code: what may be read, and how a changed or executable one is found."""

from __future__ import annotations

import hashlib
import re
import zipfile
from pathlib import Path

from services.common.errors import Code, Reason, ServiceError
from services.common.store.manifest import Manifest
from services.common.store.reference import check_path

SAFE_SUFFIXES = frozenset(
    {".safetensors", ".onnx", ".json", ".jsonl", ".txt", ".md", ".model", ".tiktoken", ".jinja"}
)
SAFE_PATTERNS = [f"*{suffix}" for suffix in sorted(SAFE_SUFFIXES)]
PICKLE_SUFFIXES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz"})

# Word vectors in Google's format: plain numbers, by names that pickles use as well.
WORD_VECTORS_SUFFIXES = frozenset({".bin", ".txt", ".vec"})
_WORD_VECTORS = re.compile(rb"([0-9]{1,12}) ([0-9]{1,6})\r?\n")

# Verified files, by what tells an untouched file from a changed one without reading it.
Stamp = tuple[str, int, int, int, int]


def check_format(file: Path) -> None:
    """Refuse a file that could run code when read. Raises FAILED_PRECONDITION, reason UNSAFE_FORMAT.

    TorchScript archives are pickles too: they are read only as exports, by their digest.
    """
    if word_vectors_header(file):
        return
    if file.suffix not in SAFE_SUFFIXES:
        hint = "a pickle can run code when read; " if file.suffix in PICKLE_SUFFIXES else ""
        raise unsafe(f"{file.name}: {hint}only safetensors, ONNX and JSON or text files are read")
    with file.open("rb") as opened:
        head = opened.read(9)
    if file.suffix == ".safetensors" and not _has_header(head, file.stat().st_size):
        raise unsafe(f"{file.name} is no safetensors file (a pickle under another name?)")
    # A pickle begins with 0x80 and its protocol. No text does, and no ONNX graph: that would be field 16.
    if file.suffix != ".safetensors" and head[:1] == b"\x80":
        raise unsafe(f"{file.name} is a pickle under another name")
    if head[:4] == b"PK\x03\x04" and zipfile.is_zipfile(file):
        raise unsafe(f"{file.name} is a zip archive (a pickle in disguise), not what its name says")


def verify(folder: Path, manifest: Manifest, verified: set[Stamp], within: Path | None = None) -> None:
    """Check that ``folder`` holds the manifest's files, unchanged, and nothing executable among them.

    ``verified`` remembers files already read, so that reloading a large model is cheap. Links may
    lead to anywhere in ``within`` (default: ``folder``). Raises DATA_LOSS, reason FILE_TAMPERED, or
    FAILED_PRECONDITION, reason UNSAFE_FORMAT; both name the file.
    """
    root = (within or folder).resolve()
    for entry in manifest.files:
        file = folder / check_path(entry.path)
        if not file.resolve().is_relative_to(root):
            raise tampered(manifest, entry.path, "it is a link that leaves the model's folder")
        if not file.is_file():
            raise tampered(manifest, entry.path, "it is missing")
        status = file.stat()
        # The time of the last change cannot be set back as that of the last write can.
        stamp = (entry.sha256, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if stamp in verified:
            continue
        _check_content(file, entry.size_bytes, entry.sha256, manifest, entry.path)
        check_format(file)
        verified.add(stamp)


def word_vectors_header(file: Path) -> tuple[int, int] | None:
    """(words, dimensions) from the first line of a file in Google's word2vec format; None for another file.

    No pickle begins with a line of two numbers.
    """
    if file.suffix not in WORD_VECTORS_SUFFIXES:
        return None
    with file.open("rb") as opened:
        header = _WORD_VECTORS.match(opened.read(32))
    return (int(header[1]), int(header[2])) if header else None


def tampered(manifest: Manifest, path: str, what: str) -> ServiceError:
    """DATA_LOSS for one file of a model."""
    return ServiceError(
        Code.DATA_LOSS,
        Reason.FILE_TAMPERED,
        f"{manifest.name}:{manifest.version}: file {path}: {what}",
        resource=("file", path),
    )


def unsafe(message: str) -> ServiceError:
    """FAILED_PRECONDITION, reason UNSAFE_FORMAT."""
    return ServiceError(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, message)


def _has_header(head: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes begins as safetensors files do: a length, then a JSON object."""
    return len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def _check_content(file: Path, size: int, sha256: str, manifest: Manifest, path: str) -> None:
    found = file.stat().st_size
    if found != size:
        raise tampered(manifest, path, f"it has {found} bytes where the manifest says {size}")
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != sha256:
        raise tampered(manifest, path, f"its sha256 is {digest[:16]}…, the manifest says {sha256[:16]}…")
