"""Loads models: the manifest names the family, the family's file does the rest."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from services.common import families
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelStore, ModelVersion
from services.tokenizer import families as own
from services.tokenizer.encoders.encoder import CrossEncoder, Encoder
from services.tokenizer.encoders.opening import ENCODERS, EncoderOpener
from services.tokenizer.encoders.text_image import TextImageEncoder
from services.tokenizer.engine import EmbedOptions, Input, Truncation
from services.tokenizer.tokens.encoding import Encoding, Specials
from services.tokenizer.words.embedder import WordEmbedder

Model = Encoding | WordEmbedder | Encoder | CrossEncoder | TextImageEncoder


class ModelLoader:
    """What the residency manager asks of a service: from files to a model."""

    kinds: frozenset[str] = frozenset({Kind.ENCODING, Kind.WORD_VECTORS, *ENCODERS})

    def __init__(self, store: ModelStore, encoders: EncoderOpener) -> None:
        """``store`` keeps what is derived from a version, for example converted word vectors."""
        self._store = store
        self._encoders = encoders

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """The family's estimate from the files' sizes; encoders compute in 32 bits, whatever they hold."""
        manifest = version.manifest
        each = families.load(own, manifest.family).BYTES_PER_FILE_BYTE
        widened = manifest.kind in ENCODERS and _dtype(manifest.config) in {"float16", "bfloat16"}
        return int(each * manifest.size_bytes * (2 if widened else 1))

    def load(self, version: ModelVersion, path: Path) -> Model:
        """The model in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when the files make none."""
        with load_failures(version):
            if version.manifest.kind in ENCODERS:
                return self._encoders.open(version, path)
            family = families.load(own, version.manifest.family)
            derive = partial(self._store.derive_now, version)
            loaded = family.load(version.manifest.config, path, derive)
        return WordEmbedder(version.name, loaded) if version.manifest.kind == Kind.WORD_VECTORS else loaded

    def warm_up(self, model: Model) -> None:
        """Run it once. A model that cannot is not fit to serve: its error is raised."""
        if isinstance(model, Encoder | TextImageEncoder):
            inputs = [Input("warm_up", "a"), Input("warm_up", "a b")]
            if model.reads_pictures:
                inputs.append(Input("warm_up", image=_dot()))
            model.run(model.prepare(inputs, EmbedOptions()), model.precisions[0])
        elif isinstance(model, CrossEncoder):
            pair = model.prepare_pairs(Input("warm_up", "a"), [Input("warm_up", "b")], Truncation.END)
            model.run(pair, model.precisions[0])
        elif isinstance(model, WordEmbedder):
            model.vectors.near(model.vectors.vector(0) + 1, 1, ())
        else:
            model.encode("a", Specials(), offsets=True)

    def close(self, model: Model) -> None:
        """Let go of its graphs; what else there is goes with the last reference."""
        if isinstance(model, Encoder | CrossEncoder | TextImageEncoder | WordEmbedder):
            model.close()


class TokenizerLoader:
    """Loads only the tokenizers of models that other services run, or that would be large to load whole."""

    kinds: frozenset[str] = frozenset({Kind.LANGUAGE_MODEL, *ENCODERS})

    def memory_bytes(self, version: ModelVersion, path: Path) -> int:
        """From the size of the tokenizer's file alone."""
        family = families.load(own, "tokenizer_json")
        file = path / family.TOKENIZER_FILE
        return int(family.BYTES_PER_FILE_BYTE * file.stat().st_size) if file.exists() else 0

    def load(self, version: ModelVersion, path: Path) -> Encoding:
        """The tokenizer in ``path``. FAILED_PRECONDITION, LOAD_FAILED, when there is none."""
        with load_failures(version):
            loaded: Encoding = families.load(own, "tokenizer_json").load({}, path, _derives_nothing)
        return loaded

    def warm_up(self, model: Encoding) -> None:
        """Cut a letter."""
        model.encode("a", Specials(), offsets=True)

    def close(self, model: Encoding) -> None:
        """Goes with the last reference."""


def _dtype(config: Mapping[str, Any]) -> str:
    """Of the weights' file; "torch_dtype" where transformers of before 2025 wrote it."""
    return str(config.get("dtype") or config.get("torch_dtype") or "")


def _dot() -> bytes:
    """A picture of one pixel."""
    file = io.BytesIO()
    Image.new("RGB", (1, 1)).save(file, "PNG")
    return file.getvalue()


def _derives_nothing(target: str, build: object) -> Path:
    raise AssertionError(f"{target} was derived")
