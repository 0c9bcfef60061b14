"""The client for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

from grpc import aio
from grpc_health.v1.health_pb2_grpc import HealthStub

from pequod.diffusion.v1 import DiffusionServiceStub
from pequod.finetune.v1 import DatasetServiceStub, FineTuneServiceStub
from pequod.gan.v1 import GanServiceStub
from pequod.model.v1 import ModelServiceStub
from pequod.sampler.v1 import GenerateStreamResponse, SamplerServiceStub
from pequod.tokenizer.v1 import (
    EmbeddingServiceStub,
    EmbedStreamResponse,
    TokenizeRequest,
    TokenizerServiceStub,
)
from pequod_client import aio_calls
from pequod_client.connection import TLS, Options, channel_options, key_metadata
from pequod_client.embeddings import (
    Bulk,
    EmbedSettings,
    RankSettings,
    count_request,
    embed_request,
    indexed_vectors_of,
    order_of,
    rank_request,
    vectors_of,
)
from pequod_client.policy import CallPolicy, RetryPolicy
from pequod_client.streams import AsyncStream
from pequod_client.text import TextSettings, generate_request, generate_stream_request, pieces_of

_Stub = TypeVar("_Stub")


class AsyncClient:
    """Every service behind one gateway, for asyncio; see Client.

    ``await client.sampler.Generate(GenerateRequest(...))``. Create it where a loop runs, and use it
    in an ``async with`` block or await ``close``.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        api_key: str | None = None,
        tls: TLS | None = None,
        timeout: float = 60.0,
        stream_timeout: float = 600.0,
        retry: RetryPolicy | None = None,
        options: Options = (),
    ) -> None:
        """Open a channel to ``target``; the arguments are those of Client."""
        chosen = channel_options(tls, options)
        self.channel: aio.Channel = (
            aio.secure_channel(target, tls.credentials(), chosen)
            if tls
            else aio.insecure_channel(target, chosen)
        )
        self._policy = CallPolicy(timeout, stream_timeout, retry or RetryPolicy(), key_metadata(api_key))
        self.models = self.stub(ModelServiceStub)
        self.sampler = self.stub(SamplerServiceStub)
        self.tokenizer = self.stub(TokenizerServiceStub)
        self.embeddings = self.stub(EmbeddingServiceStub)
        self.diffusion = self.stub(DiffusionServiceStub)
        self.gan = self.stub(GanServiceStub)
        self.datasets = self.stub(DatasetServiceStub)
        self.finetune = self.stub(FineTuneServiceStub)
        self.health = self.stub(HealthStub)

    def stub(self, make: Callable[[aio.Channel], _Stub]) -> _Stub:
        """A stub of any other service behind the gateway, with this client's policy."""
        return aio_calls.with_policy(make(self.channel), self._policy)

    async def text(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[TextSettings]
    ) -> str:
        """One completion of ``prompt``; see Client.text."""
        reply = await self.sampler.Generate(generate_request(prompt, settings), timeout=timeout)
        return reply.completions[0].text

    def stream_text(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[TextSettings]
    ) -> AsyncStream[GenerateStreamResponse, str]:
        """The same piece by piece; leaving the ``async with`` block early ends the generation."""
        replies = self.sampler.GenerateStream(generate_stream_request(prompt, settings), timeout=timeout)
        return AsyncStream(aiter(replies), pieces_of)

    async def embed(
        self, texts: Sequence[str], *, timeout: float | None = None, **settings: Unpack[EmbedSettings]
    ) -> list[list[float]]:
        """One vector a text, in their order; see Client.embed."""
        reply = await self.embeddings.Embed(embed_request(texts, settings), timeout=timeout)
        return vectors_of(reply)

    def embed_stream(
        self,
        texts: Iterable[str] | AsyncIterable[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[EmbedSettings],
    ) -> AsyncStream[EmbedStreamResponse, tuple[int, list[float]]]:
        """Pairs (number of the text, vector) as they become ready; see Client.embed_stream."""
        bulk = Bulk(texts, settings)
        replies = self.embeddings.EmbedStream(bulk.requests_async(), timeout=timeout)
        return AsyncStream(aiter(replies), indexed_vectors_of, lambda: bulk.error)

    async def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[RankSettings],
    ) -> list[tuple[int, float]]:
        """Pairs (number of the document, score), best first; see Client.rank."""
        reply = await self.embeddings.Rank(rank_request(query, documents, settings), timeout=timeout)
        return order_of(reply)

    async def tokens(self, text: str, *, model: str = "", timeout: float | None = None) -> list[int]:
        """The ids of ``text``; see Client.tokens."""
        reply = await self.tokenizer.Tokenize(TokenizeRequest(model=model, texts=[text]), timeout=timeout)
        return list(reply.tokenizations[0].ids)

    async def count_tokens(
        self, texts: Sequence[str], *, model: str = "", timeout: float | None = None
    ) -> list[int]:
        """The number of tokens of each text; see Client.count_tokens."""
        reply = await self.tokenizer.CountTokens(count_request(texts, model), timeout=timeout)
        return list(reply.counts)

    async def close(self) -> None:
        """Close the channel; calls that are running are cancelled."""
        await self.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
