"""Real gRPC servers that do what a test says, and a gateway in front of them."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import grpc
import grpc.aio
import httpx
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from gateway.app import running
from gateway.methods import method_table
from gateway.settings import GatewaySettings, Listeners, Policy
from pequod_client.sent_status import SentStatus
from services.common.catalogue import ServiceEntry
from services.common.metrics import Metrics
from services.common.rpc import status
from services.common.rpc.server import SERVER_OPTIONS

SAMPLER = ServiceEntry(
    "sampler", 0, 0, ("pequod.sampler.v1.SamplerService",), ("pequod.sampler.v1.sampler_pb2",)
)
TOKENIZER = ServiceEntry(
    "tokenizer", 0, 0, ("pequod.tokenizer.v1.EmbeddingService",), ("pequod.tokenizer.v1.embedding_pb2",)
)
FINETUNE = ServiceEntry(
    "finetune",
    0,
    0,
    ("pequod.finetune.v1.DatasetService", "pequod.finetune.v1.FineTuneService"),
    ("pequod.finetune.v1.dataset_pb2", "pequod.finetune.v1.finetune_pb2"),
    False,
)
DIFFUSION = ServiceEntry(
    "diffusion", 0, 0, ("pequod.diffusion.v1.DiffusionService",), ("pequod.diffusion.v1.diffusion_pb2",)
)
GAN = ServiceEntry("gan", 0, 0, ("pequod.gan.v1.GanService",), ("pequod.gan.v1.gan_pb2",))
ENTRIES = {entry.name: entry for entry in (SAMPLER, TOKENIZER, FINETUNE, DIFFUSION, GAN)}

GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
GENERATE_STREAM = "/pequod.sampler.v1.SamplerService/GenerateStream"
UPLOAD = "/pequod.finetune.v1.DatasetService/UploadDataset"
EMBED_STREAM = "/pequod.tokenizer.v1.EmbeddingService/EmbedStream"

METHODS = method_table(tuple(ENTRIES.values()))


async def echo(request, context):
    """Unary: the request back."""
    return request


async def echo_stream(request, context):
    """Stream of replies: the request three times."""
    for _ in range(3):
        await context.write(request)


async def join(requests, context):
    """Stream of requests: all of them in one."""
    return b"".join([message async for message in requests])


async def mirror(requests, context):
    """Both: each request back as it comes."""
    async for message in requests:
        await context.write(message)


def default_handler(method):
    if method.request_streaming:
        return mirror if method.response_streaming else join
    return echo_stream if method.response_streaming else echo


def made(method, behaviour):
    """The grpc handler of ``behaviour`` with the method's arity, without codecs."""
    if method.request_streaming and method.response_streaming:
        return grpc.stream_stream_rpc_method_handler(behaviour)
    if method.request_streaming:
        return grpc.stream_unary_rpc_method_handler(behaviour)
    if method.response_streaming:
        return grpc.unary_stream_rpc_method_handler(behaviour)
    return grpc.unary_unary_rpc_method_handler(behaviour)


class FakeBackend(grpc.GenericRpcHandler):
    """A backend whose behaviour a test sets by method path; by default it echoes."""

    def __init__(self, **behaviours):
        self.behaviours = behaviours
        self.seen = []  # (path, metadata) of every call
        self.port = 0
        self.health = health.aio.HealthServicer()
        self._server = None

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def on(self, path, behaviour):
        """``behaviour`` from now on, for calls of ``path``."""
        self.behaviours[path] = behaviour
        return self

    def calls(self, path=GENERATE):
        return sum(seen == path for seen, _ in self.seen)

    def service(self, details):
        method = METHODS.get(details.method)
        if method is None:
            return None
        self.seen.append((details.method, dict(details.invocation_metadata)))
        return made(method, self.behaviours.get(details.method) or default_handler(method))

    async def start(self, port=0):
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self._server)
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self.serving(True)
        await self._server.start()
        return self

    async def serving(self, value):
        states = health_pb2.HealthCheckResponse
        await self.health.set("", states.SERVING if value else states.NOT_SERVING)

    async def stop(self):
        if self._server is not None:
            server, self._server = self._server, None
            await server.stop(None)


def asleep(cancelled):
    """A behaviour that answers nothing, and sets ``cancelled`` when it is told to end."""

    async def sleep(request, context):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    return sleep


@contextlib.asynccontextmanager
async def backends(*fakes):
    """Start ``fakes``; stop them at the end."""
    try:
        for fake in fakes:
            await fake.start()
        yield fakes
    finally:
        for fake in fakes:
            await fake.stop()


@dataclass
class Gateway:
    """A running gateway as its callers see it."""

    target: str
    base: str
    admin: str
    channel: grpc.aio.Channel
    http: httpx.AsyncClient
    metrics: Metrics = field(repr=False)

    def stub(self, path):
        """A multi-callable of the method's true arity that takes and gives bytes."""
        method = METHODS[path]
        requests = "stream" if method.request_streaming else "unary"
        replies = "stream" if method.response_streaming else "unary"
        return getattr(self.channel, f"{requests}_{replies}")(path)

    async def readyz(self):
        return (await self.http.get("/readyz")).json()

    async def until(self, *states):
        """Wait until the backends, in order, are seen as ``states`` say."""
        while True:
            services = (await self.readyz())["services"].values()
            if tuple(b["healthy"] for service in services for b in service["backends"]) == states:
                return
            await asyncio.sleep(0.01)

    def sample(self, name, **labels):
        """The value of one metric, 0 when it was never touched."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


@contextlib.asynccontextmanager
async def gateway(wait=True, policy=None, settings=None, **addresses):
    """A gateway on free ports, in front of ``service=[backends or addresses]``; ``settings`` by name."""
    where = {
        name: tuple(b if isinstance(b, str) else b.address for b in members)
        for name, members in addresses.items()
    }
    chosen = GatewaySettings(
        listeners=Listeners(port=0, http_port=0, admin_port=0, grace_seconds=5),
        policy=policy or Policy(),
        backends=where,
        services=tuple(ENTRIES[name] for name in where),
        **(settings or {}),
    )
    metrics = Metrics("gateway")
    options = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
    async with running(chosen, metrics) as ports:
        base = f"http://127.0.0.1:{ports.http}"
        target = f"127.0.0.1:{ports.grpc}"
        async with (
            grpc.aio.insecure_channel(target, options=options) as channel,
            httpx.AsyncClient(base_url=base, timeout=30, verify=False) as http,  # reads no authorities
        ):
            started = Gateway(target, base, f"http://127.0.0.1:{ports.admin}", channel, http, metrics)
            if wait:
                await started.until(*[True for members in where.values() for _ in members])
            yield started


async def replies(call):
    """Every reply of a stream. A refusal comes as it was sent, whatever grpc.aio makes of it."""
    sent = SentStatus(call)
    try:
        return [message async for message in call]
    except grpc.aio.AioRpcError as error:
        raise sent.instead_of(error) from None


def details(error):
    """The google.rpc.Status in a failed call's trailing metadata."""
    return status_pb2.Status.FromString(dict(error.trailing_metadata())[status.DETAILS_KEY])


def reason(error):
    """The reason in a failed call's ErrorInfo."""
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in details(error).details)
    return info.reason
