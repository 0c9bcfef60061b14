"""Which versions services have in memory: asked of each replica's ``/metrics``, which knows no tenants."""

from __future__ import annotations

import socket
import urllib.request
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from services.common.catalogue import SERVICES, ServiceEntry
from services.common.upkeep.errors import UpkeepError

Key = tuple[str, str]
"""Name and version of a model."""

_TIMEOUT = 5.0
_METRIC = "pequod_model_loaded"


def addresses(environ: Mapping[str, str]) -> list[str]:
    """host:port of the side port of every replica that loads models, as the gateway finds their gRPC ports.

    A host's name stands for all its addresses. Raises UpkeepError for one that leads nowhere.
    """
    return [found for service in SERVICES if service.has_models for found in _of(service, environ)]


def loaded(asked: Sequence[str]) -> dict[Key, str]:
    """Versions in memory, each with a sentence that says where.

    Raises UpkeepError for a service that does not answer: nobody knows what it needs.
    """
    found = {}
    for address in asked:
        for key in _loaded_at(address):
            found[key] = f"the service at {address} has it in memory"
    return found


def _of(service: ServiceEntry, environ: Mapping[str, str]) -> Iterator[str]:
    prefix = f"PEQUOD_{service.name.upper()}"
    port = environ.get(f"{prefix}_SIDE_PORT", str(service.side_port))
    backends = [each.strip() for each in environ.get(f"{prefix}_BACKENDS", "").split(",") if each.strip()]
    hosts = dict.fromkeys(each.rpartition(":")[0].strip("[]") for each in backends)
    for host in hosts or ("127.0.0.1",):
        try:
            infos = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:
            raise _silent(f"{host}:{port}", error) from None
        for address in dict.fromkeys(str(info[4][0]) for info in infos):
            yield f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _loaded_at(address: str) -> Iterator[Key]:
    try:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=_TIMEOUT) as reply:
            text = reply.read().decode()
        families = list(text_string_to_metric_families(text))
    except (OSError, ValueError) as error:
        raise _silent(address, error) from None
    for family in families:
        for sample in family.samples if family.name == _METRIC else ():
            if sample.value:
                yield sample.labels["model"], sample.labels["version"]


def _silent(address: str, error: Exception) -> UpkeepError:
    return UpkeepError(f"the service at {address} does not say which models it has in memory: {error}")
