"""A thin typed client for Pequod: every service's stub, with deadlines, keys, retries and errors in place.

``Client`` blocks, ``AsyncClient`` is for asyncio; both offer the same services. Messages come from
``pequod.<area>.v1``.
"""

from pequod_client.aio_client import AsyncClient
from pequod_client.client import Client
from pequod_client.connection import TLS
from pequod_client.embeddings import EmbedSettings, RankSettings
from pequod_client.errors import FieldViolation, PequodError, Resource
from pequod_client.policy import RetryPolicy
from pequod_client.streams import AsyncStream, Stream
from pequod_client.text import TextSettings

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Client",
    "EmbedSettings",
    "FieldViolation",
    "PequodError",
    "RankSettings",
    "Resource",
    "RetryPolicy",
    "Stream",
    "TLS",
    "TextSettings",
]
