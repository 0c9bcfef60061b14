"""Pequod's users for teams who run Locust: gRPC by the client wheel, HTTP by OpenAI's API and protobuf JSON.

    pip install locust dist/pequod_client-*.whl
    PEQUOD_TARGET=host:50051 PEQUOD_API_KEY=pq_… locust -f tests/load/locust/locustfile.py --host http://host:8080

A request counts as failed when its status is not OK or its payload is not what it has to be. Refusals have
the reason from the error catalogue in their message. Nothing is tried again.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import grpc
from grpc.experimental import gevent as grpc_gevent
from locust import FastHttpUser, User, between, events, tag, task

from pequod.sampler.v1 import GenerateStreamRequest, Sampling, Stopping
from pequod_client import Client, PequodError, RetryPolicy

PROMPT, SEED, TOKENS = "The old captain", 1, 16
TEXT, COUNT = 'Who\'d use "后" vs. "後"?', 11
"""A text and its number of tokens in cl100k."""


@events.init.add_listener
def prepare(**_: Any) -> None:
    """Let grpc wait by gevent: without it the first call would block every other user."""
    grpc_gevent.init_gevent()


class WrongPayload(Exception):
    """The status is OK and the payload is not what it has to be."""


class Checked:
    """Answers that must not change from call to call, of all users."""

    texts: dict[str, str] = {}  # noqa: RUF012 - shared on purpose

    @classmethod
    def same(cls, question: str, text: str) -> None:
        """Raises WrongPayload for another text than the first one."""
        if not text or cls.texts.setdefault(question, text) != text:
            raise WrongPayload(f"{question}: {text[:60]!r} in place of {cls.texts.get(question, '')[:60]!r}")


class GrpcUser(User):
    """Calls by gRPC."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Open a channel of its own."""
        target, key = os.environ.get("PEQUOD_TARGET", "127.0.0.1:50051"), os.environ.get("PEQUOD_API_KEY")
        self.client = Client(target, api_key=key, timeout=30, retry=RetryPolicy(max_attempts=1))

    def on_stop(self) -> None:
        """Close it."""
        self.client.close()

    @tag("text")
    @task(3)
    def story(self) -> None:
        """A text in one reply."""
        self._timed("Generate", self._text)

    @tag("text")
    @task(3)
    def streamed_story(self) -> None:
        """The same text piece by piece; the first piece has a line of its own."""
        self._timed("GenerateStream", self._stream)

    @tag("vectors")
    @task(4)
    def vectors(self) -> None:
        """Two sentence vectors of length 1."""
        self._timed("Embed", lambda: _unit(self.client.embed(["a whale", "a ship"], model="minilm")))

    @tag("tokens")
    @task(4)
    def tokens(self) -> None:
        """A count of tokens."""
        self._timed("CountTokens", lambda: _equal(self.client.count_tokens([TEXT], model="cl100k"), [COUNT]))

    def _text(self) -> None:
        text = self.client.text(PROMPT, model="storyteller", seed=SEED, max_tokens=TOKENS)
        Checked.same("story", text)

    def _stream(self) -> None:
        request = GenerateStreamRequest(
            model="storyteller",
            prompt=PROMPT,
            sampling=Sampling(seed=SEED),
            stopping=Stopping(max_tokens=TOKENS),
        )
        begin, pieces = time.perf_counter(), []
        for reply in self.client.sampler.GenerateStream(request):
            if not pieces:
                self._tell("GenerateStream, first piece", begin)
            pieces.append(reply.text)
        Checked.same("story", "".join(pieces))

    def _timed(self, name: str, call: Callable[[], None]) -> None:
        """Make a call that checks its answer, and tell Locust how long it took."""
        begin = time.perf_counter()
        try:
            call()
        except (PequodError, grpc.RpcError, WrongPayload) as error:
            self._tell(name, begin, error)
        else:
            self._tell(name, begin)

    def _tell(self, name: str, begin: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="grpc",
            name=name,
            response_time=1e3 * (time.perf_counter() - begin),
            response_length=0,
            exception=error,
            context={},
        )


class HttpUser(FastHttpUser):
    """Calls by HTTP."""

    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        """Show the key."""
        key = os.environ.get("PEQUOD_API_KEY")
        self.headers = {"authorization": f"Bearer {key}"} if key else {}

    @tag("text")
    @task(3)
    def completion(self) -> None:
        """A text by OpenAI's API."""
        body = {"model": "storyteller", "prompt": PROMPT, "seed": SEED, "max_tokens": TOKENS}
        self._post("/v1/completions", body, lambda reply: Checked.same("story", reply["choices"][0]["text"]))

    @tag("vectors")
    @task(4)
    def embeddings(self) -> None:
        """Vectors by OpenAI's API."""
        body = {"model": "minilm", "input": ["a whale", "a ship"], "encoding_format": "float"}
        self._post("/v1/embeddings", body, lambda reply: _unit([each["embedding"] for each in reply["data"]]))

    @tag("tokens")
    @task(4)
    def counted(self) -> None:
        """A count of tokens by protobuf JSON."""
        body = {"model": "cl100k", "texts": [TEXT]}
        path = "/pequod.tokenizer.v1.TokenizerService/CountTokens"
        self._post(path, body, lambda reply: _equal(reply["counts"], [str(COUNT)]))

    def _post(self, path: str, body: dict[str, Any], check: Callable[[Any], None]) -> None:
        with self.client.post(path, json=body, headers=self.headers, catch_response=True) as reply:
            if reply.status_code != 200:
                reply.failure(f"{reply.status_code}: {(reply.text or '')[:200]}")
                return
            try:
                check(reply.json())
            except (WrongPayload, ValueError, KeyError, IndexError) as error:
                reply.failure(f"wrong payload: {error!r}")


def _unit(vectors: list[list[float]]) -> None:
    lengths = [math.hypot(*vector) for vector in vectors]
    if len(lengths) != 2 or any(not abs(length - 1) < 1e-3 for length in lengths):
        raise WrongPayload(f"vectors of length {lengths}")


def _equal(found: object, due: object) -> None:
    if found != due:
        raise WrongPayload(f"{found} in place of {due}")
