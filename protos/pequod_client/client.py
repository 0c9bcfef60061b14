"""The client for blocking calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from pequod.diffusion.v1 import DiffusionServiceStub
from pequod.finetune.v1 import DatasetServiceStub, FineTuneServiceStub
from pequod.gan.v1 import GanServiceStub
from pequod.model.v1 import ModelServiceStub
from pequod.sampler.v1 import GenerateStreamResponse, SamplerServiceStub
from pequod.tokenizer.v1 import EmbeddingServiceStub, TokenizerServiceStub
from pequod_client import calls
from pequod_client.connection import TLS, Options, channel_options, key_metadata
from pequod_client.embeddings import EmbedSettings, embed_request, vectors_of
from pequod_client.policy import CallPolicy, RetryPolicy
from pequod_client.streams import Stream
from pequod_client.text import TextSettings, generate_request, generate_stream_request

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
        return Stream(replies, lambda reply: reply.text)

    def embed(
        self, texts: Sequence[str], *, timeout: float | None = None, **settings: Unpack[EmbedSettings]
    ) -> list[list[float]]:
        """One vector a text, in their order, for example ``client.embed(["a whale"], model="minilm")``."""
        return vectors_of(self.embeddings.Embed(embed_request(texts, settings), timeout=timeout))

    def close(self) -> None:
        """Close the channel; calls that are running are cancelled."""
        self.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
