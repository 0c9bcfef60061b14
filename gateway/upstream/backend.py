"""One replica of a service: its channel, and what is known of its health."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

from gateway.methods import Method
from gateway.upstream.outlier import Outlier
from gateway.upstream.trust import Credentials
from services.common.rpc.server import MAX_MESSAGE_BYTES

FIRST_DELAY = 0.05
LONGEST_DELAY = 0.25
"""Seconds between attempts to reach a backend that is down."""
_LONGEST_CALL = 86400.0
"""Seconds that calls on a channel which another one has replaced may still take."""

_logger = logging.getLogger("pequod.gateway")

_CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    # Two backends must never share a connection, whatever their addresses resolve to.
    ("grpc.use_local_subchannel_pool", 1),
    # The gateway's own rule decides about retries; grpc's would not know of `x-accepted`.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Our watch asks again only when such a pause is over: both together stay well under a second, in which
    # whoever has started must be called. The second line is how long a connection may take to be made.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 300),
    # Notices within eight seconds a peer that stands still, or vanished without closing; no faster than our
    # servers allow. The answer is awaited for the longer of the two timeouts, and the second is a minute.
    ("grpc.keepalive_time_ms", 4_000),
    ("grpc.keepalive_timeout_ms", 4_000),
    ("grpc.http2.ping_timeout_ms", 4_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


class Backend:
    """One IP address: its channel, the calls on it and two opinions of its health, its own and ours."""

    def __init__(self, address: str, credentials: Credentials = lambda: None, name: str = "") -> None:
        """``address``: host:port, found under ``name``, which a certificate must then be made out to.

        ``credentials`` are asked for again when the connection was lost.
        """
        self.address = address
        self._name = name
        self._newest = credentials
        self._credentials = credentials()
        self.serving = False
        self.outstanding = 0
        self.outlier = Outlier()
        self._channel = self._make_channel()
        self._stubs: dict[str, Any] = {}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether it serves, or has calls that have not ended."""
        return self.serving or self.outstanding > 0

    def stub(self, method: Method) -> Any:
        """The multi-callable of ``method``, of its true arity, that takes and gives serialized messages."""
        stub = self._stubs.get(method.path)
        if stub is None:
            stub = self._stubs[method.path] = self._make_stub(method)
        return stub

    def _make_stub(self, method: Method) -> Any:
        if method.request_streaming and method.response_streaming:
            return self._channel.stream_stream(method.path)
        if method.request_streaming:
            return self._channel.stream_unary(method.path)
        if method.response_streaming:
            return self._channel.unary_stream(method.path)
        return self._channel.unary_unary(method.path)

    async def watch(self, changed: Callable[[], None]) -> None:
        """Keep ``serving`` true to what the backend says of itself, until cancelled."""
        delay = FIRST_DELAY
        while True:
            self._renew()
            stub: Any = health_pb2_grpc.HealthStub(self._channel)  # the stubs promise less than there is
            try:
                async for reply in stub.Watch(health_pb2.HealthCheckRequest()):
                    delay = FIRST_DELAY
                    self._say(reply.status == health_pb2.HealthCheckResponse.SERVING, changed)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    _logger.warning(
                        "health watch failed", extra={"backend": self.address, "code": error.code().name}
                    )
            self._say(False, changed)
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def close(self) -> None:
        """Close the channel; calls on it end. Calls on one that it replaced are left to whoever made them."""
        closing = tuple(self._closing)
        for each in closing:
            each.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        await self._channel.close()

    def _make_channel(self) -> grpc.aio.Channel:
        options = _CHANNEL_OPTIONS
        if self._credentials is None:
            return grpc.aio.insecure_channel(self.address, options=options)
        if self._name:
            options += (("grpc.ssl_target_name_override", self._name),)
        return grpc.aio.secure_channel(self.address, self._credentials, options=options)

    def _renew(self) -> None:
        """Another channel where there are new credentials: one takes no others than those it was made with.

        Calls that the old one may still have go on. While a connection is open nobody comes here, so
        credentials that the backend does not like end none.
        """
        newest = self._newest()
        if newest is self._credentials:
            return
        closing = asyncio.create_task(self._channel.close(_LONGEST_CALL))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._credentials, self._stubs = newest, {}
        self._channel = self._make_channel()

    def _say(self, serving: bool, changed: Callable[[], None]) -> None:
        if serving != self.serving:
            self.serving = serving
            _logger.info("backend is %s", "up" if serving else "down", extra={"backend": self.address})
            changed()
