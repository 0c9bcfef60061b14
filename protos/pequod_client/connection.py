"""How a channel is opened: options, TLS and the key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import grpc

MAX_MESSAGE_BYTES = 32 * 2**20

Options = Sequence[tuple[str, str | int]]

CHANNEL_OPTIONS: Options = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # A dead peer is noticed within half a minute, but only while calls are running.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # the longer of the two counts, and this one is a minute
    ("grpc.http2.max_pings_without_data", 0),
    # A name that stands for several gateways is used in full.
    ("grpc.lb_policy_name", "round_robin"),
    # Retries are this client's: grpc knows nothing of RetryInfo.
    ("grpc.enable_retries", 0),
)


@dataclass(frozen=True)
class TLS:
    """Encryption. All parts are PEM; with nothing set the system's authorities are trusted."""

    authorities: bytes | None = None
    """Certificates of the authorities to trust."""
    certificate: bytes | None = None
    """The client's own certificate chain, for mutual TLS. Needs ``key``."""
    key: bytes | None = None
    """The private key of ``certificate``."""
    server_name: str = ""
    """Name to expect in the server's certificate. Default: the target's."""

    def credentials(self) -> grpc.ChannelCredentials:
        """What grpc opens a channel with. Raises ValueError when a key or a certificate stands alone."""
        if (self.certificate is None) != (self.key is None):
            raise ValueError("TLS: certificate and key go together")
        return grpc.ssl_channel_credentials(self.authorities, self.key, self.certificate)

    def options(self) -> Options:
        """The channel options it needs."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def channel_options(tls: TLS | None, extra: Options) -> list[tuple[str, str | int]]:
    """All options of a channel; ``extra`` win, because grpc takes the last of equal names."""
    return [*CHANNEL_OPTIONS, *(tls.options() if tls else ()), *extra]


def key_metadata(api_key: str | None) -> tuple[tuple[str, str | bytes], ...]:
    """The metadata that carries a key."""
    return (("authorization", f"Bearer {api_key}"),) if api_key else ()
