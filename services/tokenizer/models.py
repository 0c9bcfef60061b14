"""The models of the service by reference, each as what a request needs of it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common.errors import Reason, ServiceError, unsupported
from services.common.residency import ModelManager
from services.common.store import Kind, ModelVersion
from services.tokenizer.encoders.encoder import CrossEncoder, Encoder
from services.tokenizer.encoders.text_image import TextImageEncoder
from services.tokenizer.engine import Embedder
from services.tokenizer.loader import Model
from services.tokenizer.settings import TokenizerSettings
from services.tokenizer.tokens.encoding import Encoding
from services.tokenizer.words.embedder import WordEmbedder
from services.tokenizer.words.vectors import WordVectors

M_co = TypeVar("M_co", covariant=True)


@dataclass(frozen=True)
class Held(Generic[M_co]):
    """A model that stays in memory while the request has it."""

    model: M_co
    version: ModelVersion


class Models:
    """``own`` holds the service's models, ``tokenizers`` the tokenizers of everything else that has one."""

    def __init__(
        self, own: ModelManager[Model], tokenizers: ModelManager[Encoding], settings: TokenizerSettings
    ) -> None:
        self._own = own
        self._tokenizers = tokenizers
        self._settings = settings

    @contextlib.asynccontextmanager
    async def encoding(self, reference: str) -> AsyncIterator[Held[Encoding]]:
        """An encoding, or the tokenizer of any other model: that is read without the model's weights."""
        wanted = reference or self._settings.default_encoding
        if await self._is_encoding(wanted):
            async with self._own.use(wanted) as resident:
                assert not isinstance(
                    resident.model, WordEmbedder | Encoder | CrossEncoder | TextImageEncoder
                )
                yield Held(resident.model, resident.version)
        else:
            async with self._tokenizers.use(wanted) as tokenizer:
                yield Held(tokenizer.model, tokenizer.version)

    @contextlib.asynccontextmanager
    async def embedder(self, reference: str) -> AsyncIterator[Held[Embedder]]:
        """A model that turns inputs into vectors. FAILED_PRECONDITION for one that does not."""
        async with self._own.use(reference or self._settings.default_model) as resident:
            if not isinstance(resident.model, Encoder | TextImageEncoder | WordEmbedder):
                raise _other_kind(resident.version, "does not embed")
            yield Held(resident.model, resident.version)

    @contextlib.asynccontextmanager
    async def ranker(self, reference: str) -> AsyncIterator[Held[Embedder | CrossEncoder]]:
        """A model that says how well documents answer a query."""
        async with self._own.use(reference or self._settings.default_model) as resident:
            if not isinstance(resident.model, Encoder | TextImageEncoder | WordEmbedder | CrossEncoder):
                raise _other_kind(resident.version, "does not rank")
            yield Held(resident.model, resident.version)

    @contextlib.asynccontextmanager
    async def words(self, reference: str) -> AsyncIterator[Held[WordVectors]]:
        """Word vectors."""
        async with self._own.use(reference or self._settings.default_words) as resident:
            if not isinstance(resident.model, WordEmbedder):
                raise _other_kind(resident.version, "holds no word vectors")
            yield Held(resident.model.vectors, resident.version)

    async def list_encodings(self) -> list[ModelVersion]:
        """Every version that is an encoding, by name and version."""
        versions = await self._own.list_versions()
        return [version for version in versions if version.manifest.kind == Kind.ENCODING]

    async def _is_encoding(self, reference: str) -> bool:
        try:
            kind = (await self._own.serving(reference)).manifest.kind
        except ServiceError as error:
            if error.reason is not Reason.MODEL_NOT_FOUND:
                raise
            return False  # another service's, or nobody's: the look for its tokenizer says so
        if kind == Kind.WORD_VECTORS:
            raise unsupported(f"model {reference!r} is made of word vectors: it has no tokenizer")
        return kind == Kind.ENCODING


def _other_kind(version: ModelVersion, what: str) -> ServiceError:
    return unsupported(f"model {version} {what}: its kind is {version.manifest.kind.value}")
