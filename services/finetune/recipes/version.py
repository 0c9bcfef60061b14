"""What every recipe shares: the corpus it reads, the version it leaves, its options."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.common.store import MANIFEST_NAME, Kind, Manifest, describe_files
from services.common.store.disk import DiskLayer


@dataclass(frozen=True)
class Corpus:
    """Texts to learn from, each a document that no context reaches out of."""

    texts: Sequence[str]
    description: str = ""
    license: str = "CC0-1.0"


def begin(out: Path) -> None:
    """Make the folder of the new version ``out`` = <store>/<name>/<version>. Raises FileExistsError."""
    if (out / MANIFEST_NAME).exists():
        raise FileExistsError(f"{out} holds a version already; a version never changes")
    out.mkdir(parents=True, exist_ok=True)


def publish(
    corpus: Corpus,
    out: Path,
    kind: Kind,
    family: str,
    config: dict[str, Any],
    metrics: dict[str, float],
    recipe: str = "",
    parent: str = "",
) -> Manifest:
    """Write the manifest, last, so that it appears whole. ``parent``: whose weights are in it."""
    (out / f"{MANIFEST_NAME}.partial").unlink(missing_ok=True)  # of one that was killed here
    for file in filter(Path.is_file, out.rglob("*")):
        file.chmod(0o644)  # safetensors writes files that only their owner may read
    manifest = Manifest(
        name=out.parent.name,
        version=out.name,
        kind=kind,
        family=family,
        config=config,
        files=describe_files(out),
        license=corpus.license,
        training_data=corpus.description,
        recipe=recipe or family,
        parent=parent,
        metrics=metrics,
    )
    partial = out / f"{MANIFEST_NAME}.partial"
    partial.write_text(manifest.to_json())
    partial.replace(out / MANIFEST_NAME)
    return manifest


def manifest_of(folder: Path) -> Manifest:
    """Of the version in a folder. Raises ValueError where there is none."""
    try:
        return Manifest.model_validate_json((folder / MANIFEST_NAME).read_text())
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no version of a model") from None


def reference_of(folder: Path) -> str:
    """``name:version`` of the version in a folder. Raises ValueError where there is none."""
    manifest = manifest_of(folder)
    return f"{manifest.name}:{manifest.version}"


def read_corpus(path: Path, pattern: str, description: str = "") -> Corpus:
    """The UTF-8 texts of a folder that match ``pattern``, by name, or the one file ``path``."""
    files = sorted(path.glob(pattern)) if path.is_dir() else [path]
    texts = [file.read_text(encoding="utf-8") for file in files]
    if not texts:
        raise ValueError(f"{path} holds no file that matches {pattern!r}")
    stated = description or f"{len(texts)} texts, {sum(map(len, texts))} characters"
    return Corpus(texts, stated)


def corpus_parser(description: str | None) -> argparse.ArgumentParser:
    """The options of every recipe that reads texts."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--corpus", type=Path, required=True, help="a folder of texts, or one text")
    options.add_argument("--glob", default="*.txt", help="which files of the folder (%(default)s)")
    options.add_argument(
        "--out", type=Path, required=True, help="folder of the new version: STORE/NAME/VERSION"
    )
    options.add_argument("--training-data", default="", help="what the corpus is, in a sentence")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    return options


def finish(manifest: Manifest, out: Path, alias: str) -> None:
    """Set the alias, if one is asked for, and print the figures."""
    if alias:
        DiskLayer(out.parents[1], "out", writable=True).set_alias(
            manifest.name, alias, manifest.version, None
        )
    lines = [f"{name:40} {value:>14.6g}" for name, value in manifest.metrics.items()]
    sys.stdout.write(
        "\n".join([f"{manifest.name}:{manifest.version}, {manifest.size_bytes} bytes", *lines, ""])
    )
