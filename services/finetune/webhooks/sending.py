"""Sends what is due to webhooks, signed; what is not heard is sent again, later and later, for a day."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import logging
import ssl
import time
from datetime import UTC
from urllib.parse import urlsplit, urlunsplit

from services.common.errors import ServiceError
from services.common.metrics import Metrics
from services.common.web import PlainConnection, SecureConnection, ended_within
from services.finetune.webhooks.addresses import Addresses
from services.finetune.webhooks.outbox import Delivery, Outbox

SIGNATURE = "pequod-signature"
"""Header: "t=SECONDS,v1=HEX", the HMAC-SHA256 of "SECONDS.BODY" under the webhook's secret."""
DELIVERY = "pequod-delivery"
"""Header: the same for every attempt to deliver a message."""
_SECONDS, _WHOLE_SECONDS = 10.0, 30.0
"""Without a byte; for all of a call: whoever answers bit by bit would hold a sender."""
_POLL = 2.0
_SENDERS = 4

_logger = logging.getLogger("pequod.webhooks")


class Sender:
    """On the event loop; connects in threads."""

    def __init__(
        self, outbox: Outbox, addresses: Addresses, metrics: Metrics, trust: ssl.SSLContext | None = None
    ) -> None:
        """``trust``: whose certificates count."""
        self._outbox, self._addresses, self._metrics, self._trust = outbox, addresses, metrics, trust
        self._closing = asyncio.Event()
        self._running: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send."""
        self._running = [asyncio.create_task(self._work()) for _ in range(_SENDERS)]

    async def close(self) -> None:
        """End after what is being sent; the rest is sent by another process, or the next."""
        self._closing.set()
        await asyncio.gather(*self._running)

    async def _work(self) -> None:
        while not self._closing.is_set():
            try:
                if await asyncio.to_thread(self._one):
                    continue
            except ServiceError as error:
                _logger.warning("no webhooks for now: %s", error)
            except Exception:
                _logger.exception("a webhook could not be sent; it will be tried again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL):
                    await self._closing.wait()

    def _one(self) -> bool:
        """Try one that is due; False when there is none."""
        delivery = self._outbox.take()
        if delivery is None:
            return False
        why = self._send(delivery)
        if not why:
            self._outbox.heard(delivery)
            self._metrics.deliveries.labels("heard").inc()
            return True
        is_kept = self._outbox.unheard(delivery)
        self._metrics.deliveries.labels("unheard" if is_kept else "given_up").inc()
        what = "will be told again" if is_kept else "is given up"
        host = urlsplit(delivery.url).hostname
        _logger.warning("webhook of job %s at %s %s: %s", delivery.job_id, host, what, why)
        return True

    def _send(self, delivery: Delivery) -> str:
        """Why it was not heard; empty when it was."""
        if why := self._addresses.refusal(delivery.url):
            return why
        body = _body(delivery)
        headers = {
            "content-type": "application/json",
            "user-agent": "pequod",
            DELIVERY: delivery.delivery_id,
            SIGNATURE: sign(delivery.secret, body, int(time.time())),
        }
        parts = urlsplit(delivery.url)
        connection = self._connection(parts.scheme, parts.hostname or "", parts.port)
        try:
            path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
            with ended_within(connection, _WHOLE_SECONDS):
                connection.request("POST", path, body, headers)
                reply = connection.getresponse()  # what it says beside its status is of no matter
        except (OSError, http.client.HTTPException, ValueError) as error:
            return f"{type(error).__name__}: {error}"
        finally:
            connection.close()
        return "" if 200 <= reply.status < 300 else f"it answers {reply.status}"

    def _connection(self, scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
        public = self._addresses.is_allowed
        if scheme == "https":
            return SecureConnection(host, port or 443, _SECONDS, public, self._trust)
        return PlainConnection(host, port or 80, _SECONDS, public)


def sign(secret: str, body: bytes, seconds: int) -> str:
    """The header by which a receiver knows who calls, and that the call is fresh."""
    said = f"{seconds}.".encode() + body
    return f"t={seconds},v1={hmac.new(secret.encode(), said, hashlib.sha256).hexdigest()}"


def _body(delivery: Delivery) -> bytes:
    """The same at every attempt."""
    time_ = delivery.created_at.astimezone(UTC).isoformat()
    told = {"delivery_id": delivery.delivery_id, "time": time_, **delivery.body}
    return json.dumps(told, ensure_ascii=False).encode()
