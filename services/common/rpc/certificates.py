"""When the certificates that a process holds end: asked at each scrape, of what is in force then."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_NAME = "pequod_certificate_expires_timestamp_seconds"
_TOLD = "When the first certificate of a chain, or of a file of authorities, ends."

Held = Callable[[], Mapping[str, bytes]]
"""PEM of what is in force, by the settings that name the files."""

_logger = logging.getLogger("pequod.server.tls")


class CertificateCollector(Collector):
    """A metric for a registry: read when it is asked for. Without TLS a name and no samples."""

    def __init__(self, holders: Sequence[Held]) -> None:
        self._holders = holders

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The name, for which no certificate has to be read."""
        yield _family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauge, with a sample for each file: seconds since 1970 of the first end in it."""
        family = _family()
        for held in self._holders:
            for name, pem in held().items():
                end = _first_end(pem)
                if end is not None:
                    family.add_metric([name], end)
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily(_NAME, _TOLD, labels=["certificate"])


@functools.lru_cache(maxsize=16)
def _first_end(pem: bytes) -> float | None:
    """Seconds since 1970; None where it cannot be read, which is logged once."""
    from cryptography import x509  # where there is TLS, and there only

    try:
        found = x509.load_pem_x509_certificates(pem)
        return min(each.not_valid_after_utc.timestamp() for each in found)
    except ValueError as error:
        _logger.warning("end of a certificate not known", extra={"error": str(error)})
        return None
