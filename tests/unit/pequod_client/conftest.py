"""The fake gateway and both clients."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from fake_gateway import Server

from pequod.finetune.v1 import (
    add_DatasetServiceServicer_to_server,
)
from pequod.sampler.v1 import (
    add_SamplerServiceServicer_to_server,
)
from pequod.tokenizer.v1 import (
    add_EmbeddingServiceServicer_to_server,
    add_TokenizerServiceServicer_to_server,
)
from pequod_client import AsyncClient, Client, RetryPolicy


@pytest.fixture
def server():
    servicer = Server()
    with ThreadPoolExecutor(4) as pool:
        running = grpc.server(pool)
        add_SamplerServiceServicer_to_server(servicer, running)
        add_DatasetServiceServicer_to_server(servicer, running)
        add_EmbeddingServiceServicer_to_server(servicer, running)
        add_TokenizerServiceServicer_to_server(servicer, running)
        servicer.target = f"127.0.0.1:{running.add_insecure_port('127.0.0.1:0')}"
        running.start()
        yield servicer
        servicer.release.set()
        running.stop(None).wait()


@pytest.fixture
def client(server):
    with Client(server.target, retry=RetryPolicy(max_attempts=3)) as client:
        yield client


@pytest.fixture
async def aio(server):
    async with AsyncClient(server.target, retry=RetryPolicy(max_attempts=3)) as client:
        yield client


class Blocking:
    """The blocking client behind the face of the asyncio one, so that one test covers both."""

    def __init__(self, client):
        self.client = client

    async def text(self, *args, **settings):
        return await asyncio.to_thread(self.client.text, *args, **settings)

    async def embed(self, *args, **settings):
        return await asyncio.to_thread(self.client.embed, *args, **settings)

    async def embed_stream(self, *args, **settings):
        return await asyncio.to_thread(lambda: list(self.client.embed_stream(*args, **settings)))

    async def rank(self, *args, **settings):
        return await asyncio.to_thread(self.client.rank, *args, **settings)

    async def tokens(self, *args, **settings):
        return await asyncio.to_thread(self.client.tokens, *args, **settings)

    async def count_tokens(self, *args, **settings):
        return await asyncio.to_thread(self.client.count_tokens, *args, **settings)

    async def pieces(self, *args, **settings):
        return await asyncio.to_thread(lambda: list(self.client.stream_text(*args, **settings)))

    async def upload(self, parts):
        return await asyncio.to_thread(self.client.datasets.UploadDataset, iter(parts))


class Asyncio:
    """The asyncio client with the same face."""

    def __init__(self, client):
        self.client = client

    async def text(self, *args, **settings):
        return await self.client.text(*args, **settings)

    async def embed(self, *args, **settings):
        return await self.client.embed(*args, **settings)

    async def embed_stream(self, *args, **settings):
        return [pair async for pair in self.client.embed_stream(*args, **settings)]

    async def rank(self, *args, **settings):
        return await self.client.rank(*args, **settings)

    async def tokens(self, *args, **settings):
        return await self.client.tokens(*args, **settings)

    async def count_tokens(self, *args, **settings):
        return await self.client.count_tokens(*args, **settings)

    async def pieces(self, *args, **settings):
        return [piece async for piece in self.client.stream_text(*args, **settings)]

    async def upload(self, parts):
        return await self.client.datasets.UploadDataset(iter(parts))


@pytest.fixture(params=[Blocking, Asyncio], ids=["blocking", "asyncio"])
def face(request, client, aio):
    return request.param(client if request.param is Blocking else aio)
