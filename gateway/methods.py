"""The table of methods the gateway forwards, read from the generated descriptors at start."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

from services.common.catalogue import MODEL_SERVICE, ServiceEntry
from services.common.errors import Code, Reason, ServiceError

MODELS = "models"
"""Stands for a service's name where the model in the request decides which service a call goes to."""

KSERVE_SERVICE = "inference.GRPCInferenceService"
"""Answered by the gateway itself, by calls of the services."""

_MODEL_PROTOS = "pequod.model.v1.model_pb2"


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC. ``service`` is the catalogue's name of who answers it."""

    path: str
    service: str
    request_streaming: bool
    response_streaming: bool
    request_type: type[Message]
    response_type: type[Message]


def method_table(services: Sequence[ServiceEntry]) -> dict[str, Method]:
    """Every method of ``services`` and of ModelService, by its path ``/package.Service/Method``."""
    table: dict[str, Method] = {}
    for entry in services:
        table |= _described(entry.name, entry.grpc_services, entry.proto_modules)
    return table | _described(MODELS, (MODEL_SERVICE,), (_MODEL_PROTOS,))


def grpc_services(services: Sequence[ServiceEntry]) -> tuple[str, ...]:
    """The full names of the gRPC services that the gateway offers."""
    return (*(name for entry in services for name in entry.grpc_services), MODEL_SERVICE, KSERVE_SERVICE)


def unknown_method(path: str, known: Iterable[str]) -> ServiceError:
    """UNIMPLEMENTED, as gRPC has it, with the close names among ``known``."""
    close = difflib.get_close_matches(path, known, n=3, cutoff=0.6)
    hint = f"; did you mean {', '.join(name.lstrip('/') for name in close)}?" if close else ""
    name = path.lstrip("/")[:200]
    return ServiceError(Code.UNIMPLEMENTED, Reason.METHOD_NOT_FOUND, f"no method {name!r}{hint}")


def _described(service: str, names: Iterable[str], proto_modules: Iterable[str]) -> dict[str, Method]:
    for module in proto_modules:
        importlib.import_module(module)
    pool = descriptor_pool.Default()
    methods = (m for name in names for m in _methods(service, pool.FindServiceByName(name)))
    return {method.path: method for method in methods}


def _methods(service: str, described: ServiceDescriptor) -> Iterable[Method]:
    for method in described.methods:
        yield Method(
            path=f"/{described.full_name}/{method.name}",
            service=service,
            request_streaming=method.client_streaming,
            response_streaming=method.server_streaming,
            request_type=message_factory.GetMessageClass(method.input_type),
            response_type=message_factory.GetMessageClass(method.output_type),
        )
