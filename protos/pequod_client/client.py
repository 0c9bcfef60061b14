"""The client for blocking calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
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
from pequod_client import calls
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
from pequod_client.streams import Stream
from pequod_client.text import TextSettings, generate_request, generate_stream_request, pieces_of

_Stub = TypeVar("_Stub")


class Client:
    """Every service behind one gateway.

    Each attribute is the generated stub: ``client.sampler.Generate(GenerateRequest(...))``. Calls
    take ``timeout`` (seconds) and ``metadata`` by keyword, and raise PequodError. Use it in a
    ``with`` block, or call ``close``. It may be shared by threads.
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
        """Open a channel to ``target``, a "host:port" or any grpc target.

        ``timeout`` and ``stream_timeout`` are the seconds that calls with one reply and with many
        may take unless they say otherwise, tries included. ``tls`` None: no encryption, for this
        machine or behind a mesh. ``options`` are grpc channel options that win over ours.
        """
        chosen = channel_options(tls, options)
        self.channel: grpc.Channel = (
            grpc.secure_channel(target, tls.credentials(), chosen)
            if tls
            else grpc.insecure_channel(target, chosen)
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

    def stub(self, make: Callable[[grpc.Channel], _Stub]) -> _Stub:
        """A stub of any other service behind the gateway, with this client's policy."""
        return calls.with_policy(make(self.channel), self._policy)

    def text(self, prompt: str, *, timeout: float | None = None, **settings: Unpack[TextSettings]) -> str:
        """One completion of ``prompt``, for example ``client.text("THE ", model="moby-ngram", order=3)``."""
        reply = self.sampler.Generate(generate_request(prompt, settings), timeout=timeout)
        return reply.completions[0].text

    def stream_text(
        self, prompt: str, *, timeout: float | None = None, **settings: Unpack[TextSettings]
    ) -> Stream[GenerateStreamResponse, str]:
        """The same piece by piece; leaving the loop or the ``with`` block early ends the generation."""
        replies = self.sampler.GenerateStream(generate_stream_request(prompt, settings), timeout=timeout)
        return Stream(replies, pieces_of)

    def embed(
        self, texts: Sequence[str], *, timeout: float | None = None, **settings: Unpack[EmbedSettings]
    ) -> list[list[float]]:
        """One vector a text, in their order, for example ``client.embed(["a whale"], model="minilm")``."""
        return vectors_of(self.embeddings.Embed(embed_request(texts, settings), timeout=timeout))

    def embed_stream(
        self, texts: Iterable[str], *, timeout: float | None = None, **settings: Unpack[EmbedSettings]
    ) -> Stream[EmbedStreamResponse, tuple[int, list[float]]]:
        """Pairs (number of the text, vector) as they become ready, not always in the order of ``texts``.

        ``texts`` may be endless: another thread reads it, only as fast as vectors are made. An error
        that it raises is raised here, after the vectors of what was sent before.
        """
        bulk = Bulk(texts, settings)
        replies = self.embeddings.EmbedStream(bulk.requests(), timeout=timeout)
        return Stream(replies, indexed_vectors_of, lambda: bulk.error)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        timeout: float | None = None,
        **settings: Unpack[RankSettings],
    ) -> list[tuple[int, float]]:
        """Pairs (number of the document, score), the best answer to ``query`` first."""
        return order_of(self.embeddings.Rank(rank_request(query, documents, settings), timeout=timeout))

    def tokens(self, text: str, *, model: str = "", timeout: float | None = None) -> list[int]:
        """The ids of ``text`` in an encoding, for example ``client.tokens("Call me", model="gpt2")``."""
        reply = self.tokenizer.Tokenize(TokenizeRequest(model=model, texts=[text]), timeout=timeout)
        return list(reply.tokenizations[0].ids)

    def count_tokens(
        self, texts: Sequence[str], *, model: str = "", timeout: float | None = None
    ) -> list[int]:
        """The number of tokens of each text in an encoding, or in any model with a tokenizer."""
        return list(self.tokenizer.CountTokens(count_request(texts, model), timeout=timeout).counts)

    def close(self) -> None:
        """Close the channel; calls that are running are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
