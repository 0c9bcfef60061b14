"""ModelService at the gateway: one list of all services' models, and who owns each."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.message import DecodeError, Message

from gateway.call import BackendError, Call
from gateway.methods import Method
from gateway.principal import Group
from gateway.upstream.forward import Forward
from gateway.upstream.pool import Pool
from pequod.common.v1 import Usage
from pequod.model.v1 import (
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ModelKind,
    Resources,
)
from services.common.catalogue import MODEL_SERVICE
from services.common.errors import Code, Reason, ServiceError, invalid, model_not_found
from services.common.rpc.decode import malformed

LIST_MODELS = f"/{MODEL_SERVICE}/ListModels"
GET_MODEL = f"/{MODEL_SERVICE}/GetModel"
UNREACHABLE_KEY = "pequod-unreachable-services"
"""Trailing metadata of ListModels: the services whose models are missing from the reply."""

OWNER_SECONDS = 2.0
_OWNERS_KEPT = 1024
_DEFAULT_PAGE = 100
_LARGEST_PAGE = 1000

_Key = tuple[str, tuple[int, int, str], str]


class ModelDirectory:
    """Asks the services what models they have."""

    def __init__(
        self,
        pools: Mapping[str, Pool],
        methods: Mapping[str, Method],
        forward: Forward,
        others: Sequence[Pool] = (),
    ) -> None:
        """``others``: services that have no models, and tell what they hold all the same."""
        self._pools, self._others = pools, others
        self._methods = methods
        self._forward = forward
        self._owners: dict[str, tuple[Pool, float]] = {}

    async def list_page(self, call: Call) -> None:
        """Answer ListModels: a page of the merge over all services that can be reached.

        A page begins after the last model of the page before, whatever came or went meanwhile.
        """
        started = time.perf_counter()
        request = _decode(call)
        assert isinstance(request, ListModelsRequest)
        size = _page_size(request)
        after = _read_token(request.page_token)
        if request.resources and Group.OPERATE not in call.principal.groups:
            what = f"resources of services are told to keys with the group {Group.OPERATE.value}"
            raise ServiceError(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, what)
        models, resources, missing = await self._all(call, request.kind, request.resources)
        rest = [model for model in models if after is None or _key(model) > after]
        page = rest[:size]
        token = _write_token(page[-1]) if len(rest) > size else ""
        usage = Usage(compute_ms=1e3 * (time.perf_counter() - started))
        reply = ListModelsResponse(models=page, next_page_token=token, usage=usage)
        if request.resources:
            reply.resources.services.extend([*resources, *await self._held_by_others(call)])
        call.reply = reply.SerializeToString()
        if missing:
            call.trailing += ((UNREACHABLE_KEY, ",".join(missing)),)

    async def owner(self, call: Call) -> Pool:
        """The service that has the model named in ``call``.

        Raises NOT_FOUND with the close names over all services, UNAVAILABLE when a service that
        may have it cannot be asked.
        """
        if len(self._pools) == 1:
            return next(iter(self._pools.values()))
        reference = _reference(_decode(call))
        pool, expires = self._owners.get(reference, (None, 0.0))
        if pool is None or time.monotonic() > expires:
            pool = await self._find(call, reference)
            if len(self._owners) >= _OWNERS_KEPT:
                self._owners.clear()
            self._owners[reference] = (pool, time.monotonic() + OWNER_SECONDS)
        return pool

    async def _find(self, call: Call, reference: str) -> Pool:
        request = GetModelRequest(model=reference).SerializeToString()
        asked = [self._ask(call, pool, GET_MODEL, request) for pool in self._pools.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failures = []
        for pool, answer in zip(self._pools.values(), answers, strict=True):
            if not isinstance(answer, BaseException):
                return pool
            if not _is_not_found(answer):
                failures.append(answer)
        if failures:
            raise failures[0]
        models, _, _ = await self._all(call, ModelKind.MODEL_KIND_UNSPECIFIED)
        raise model_not_found(reference, (model.name for model in models))

    async def _all(
        self, call: Call, kind: ModelKind.ValueType, with_resources: bool = False
    ) -> tuple[Sequence[Model], Sequence[Resources], Sequence[str]]:
        """Every reachable service's models in order, its resources, and the services out of reach."""
        names = list(self._pools)
        asked = [self._of_service(call, pool, kind, with_resources) for pool in self._pools.values()]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        models: list[Model] = []
        resources: list[Resources] = []
        missing: list[str] = []
        for name, answer in zip(names, answers, strict=True):
            if not isinstance(answer, BaseException):
                models += answer.models
                resources += answer.resources.services
            elif _is_unavailable(answer) and len(names) > 1:
                missing.append(name)
            else:
                raise answer
        if len(missing) == len(names):
            raise next(answer for answer in answers if isinstance(answer, BaseException))
        return sorted(models, key=_key), resources, missing

    async def _held_by_others(self, call: Call) -> Sequence[Resources]:
        """Of those that can be reached, and know the question."""
        request = ListModelsRequest(page_size=1, resources=True).SerializeToString()
        asked = [self._ask(call, pool, LIST_MODELS, request) for pool in self._others]
        found: list[Resources] = []
        for answer in await asyncio.gather(*asked, return_exceptions=True):
            if not isinstance(answer, BaseException):
                found += ListModelsResponse.FromString(answer).resources.services
            elif not (_is_unavailable(answer) or _is_unknown(answer)):
                raise answer
        return found

    async def _of_service(
        self, call: Call, pool: Pool, kind: ModelKind.ValueType, with_resources: bool
    ) -> ListModelsResponse:
        """All pages as one. Resources come with the first."""
        whole = ListModelsResponse()
        request = ListModelsRequest(page_size=_LARGEST_PAGE, kind=kind, resources=with_resources)
        while True:
            reply = await self._ask(call, pool, LIST_MODELS, request.SerializeToString())
            page = ListModelsResponse.FromString(reply)
            whole.models.extend(page.models)
            whole.resources.services.extend(page.resources.services)
            request.page_token, request.resources = page.next_page_token, False
            if not request.page_token:
                return whole

    async def _ask(self, call: Call, pool: Pool, path: str, request: bytes) -> bytes:
        """A call of our own, with the identity and the deadline of ``call``."""
        question = Call(self._methods[path], (), request, None, call.replies)
        question.deadline = call.deadline
        question.onward = call.onward
        await self._forward.run(question, pool)
        return question.reply


def _decode(call: Call) -> Message:
    assert isinstance(call.request, bytes), "ModelService has no streams of requests"
    try:
        return call.method.request_type.FromString(call.request)
    except DecodeError:
        raise malformed(call.request, call.method.request_type) from None


def _reference(request: Message) -> str:
    """The model reference in a ModelService request; SetAlias calls the field ``name``."""
    field = "model" if "model" in request.DESCRIPTOR.fields_by_name else "name"
    reference: str = getattr(request, field)
    if not reference:
        raise invalid(field, "required; it is empty")
    return reference


def _page_size(request: ListModelsRequest) -> int:
    if request.page_size > _LARGEST_PAGE:
        raise invalid("page_size", f"{request.page_size} is not in 0..{_LARGEST_PAGE}")
    return request.page_size or _DEFAULT_PAGE


def _key(model: Model) -> _Key:
    return model.name, _version_key(model.version), model.service


def _version_key(version: str) -> tuple[int, int, str]:
    """Numbers by their value, before other versions by their text."""
    numeric = version.isascii() and version.isdigit() and len(version) < 19
    return (0, int(version), version) if numeric else (1, 0, version)


def _write_token(last: Model) -> str:
    text = json.dumps([last.name, last.version, last.service], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_token(token: str) -> _Key | None:
    if not token:
        return None
    try:
        name, version, service = json.loads(base64.urlsafe_b64decode(token.encode()))
        if not (isinstance(name, str) and isinstance(version, str) and isinstance(service, str)):
            raise ValueError(token)
    except ValueError:
        raise invalid("page_token", "not a token that ListModels gave") from None
    return name, _version_key(version), service


def _is_not_found(answer: BaseException) -> bool:
    return isinstance(answer, BackendError) and answer.code is grpc.StatusCode.NOT_FOUND


def _is_unavailable(answer: BaseException) -> bool:
    if isinstance(answer, BackendError):
        return answer.code is grpc.StatusCode.UNAVAILABLE
    return isinstance(answer, ServiceError) and answer.code is Code.UNAVAILABLE


def _is_unknown(answer: BaseException) -> bool:
    """The backend has no such method, as those of an earlier release."""
    return isinstance(answer, BackendError) and answer.code is grpc.StatusCode.UNIMPLEMENTED
