"""The endpoints under ``/v1``, in one table: what is served, and what the OpenAPI document says."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.caller import Caller
from gateway.methods import Method
from gateway.openai.answer import Answer
from gateway.openai.body import B, read
from gateway.openai.chat import ChatBody, chat
from gateway.openai.completions import CompletionBody, completions
from gateway.openai.document import Described, document
from gateway.openai.door import ANY, Door, Endpoint
from gateway.openai.embeddings import EmbeddingBody, RerankBody, embeddings, rerank
from gateway.openai.files import FileBody, delete_file, get_file, list_files, upload
from gateway.openai.finetuning import (
    JobBody,
    cancel_job,
    create_job,
    get_job,
    list_checkpoints,
    list_events,
    list_jobs,
    pause_job,
    resume_job,
)
from gateway.openai.images import EditBody, ImageBody, edits, generations
from gateway.openai.models import get_model, list_models
from gateway.openai.paging import Page
from gateway.openai.responses import ResponseBody, responses
from gateway.openai.tokens import DetokenizeBody, TokenizeBody, detokenize, tokenize
from gateway.pipeline import Proceed
from services.common.errors import Code, Reason, ServiceError

_JOBS = "/v1/fine_tuning/jobs"


@dataclass(frozen=True)
class Entry:
    """An endpoint with how it is described."""

    described: Described
    endpoint: Endpoint


def _post(kind: type[B], path: str, endpoint: Callable[[B, Caller], Awaitable[Answer]], *keys: str) -> Entry:
    """An endpoint with a body; ``keys`` are always in its answer."""

    def answer(value: Mapping[str, Any], caller: Caller) -> Awaitable[Answer]:
        return endpoint(read(kind, value), caller)

    summary = (endpoint.__doc__ or "").partition("\n")[0]
    return Entry(Described(path, "post", summary, keys, kind), answer)


def _at(verb: str, path: str, endpoint: Endpoint, *keys: str) -> Entry:
    """An endpoint that its path says all about."""
    summary = (endpoint.__doc__ or "").partition("\n")[0]
    return Entry(Described(path, verb, summary, keys), endpoint)


def _listing(path: str, endpoint: Callable[..., Awaitable[Answer]], *parts: str) -> Entry:
    """A list in pages; ``parts`` of the path go to the endpoint."""

    def answer(value: Mapping[str, Any], caller: Caller) -> Awaitable[Answer]:
        return endpoint(*(value[each] for each in parts), read(Page, value), caller)

    summary = (endpoint.__doc__ or "").partition("\n")[0]
    return Entry(Described(path, "get", summary, ("data", "has_more"), query=Page), answer)


ENTRIES: Sequence[Entry] = (
    _post(ChatBody, "/v1/chat/completions", chat, "id", "choices", "usage"),
    _post(ResponseBody, "/v1/responses", responses, "id", "output", "usage"),
    _post(CompletionBody, "/v1/completions", completions, "id", "choices", "usage"),
    _post(EmbeddingBody, "/v1/embeddings", embeddings, "data", "usage"),
    _post(ImageBody, "/v1/images/generations", generations, "created", "data"),
    _post(EditBody, "/v1/images/edits", edits, "created", "data"),
    _post(RerankBody, "/v1/rerank", rerank, "results"),
    _post(TokenizeBody, "/v1/tokenize", tokenize, "count", "tokens"),
    _post(DetokenizeBody, "/v1/detokenize", detokenize, "prompt"),
    _at("get", "/v1/models", list_models, "data"),
    _at("get", "/v1/models/{model}", get_model, "id"),
    _post(FileBody, "/v1/files", upload, "id", "status"),
    _listing("/v1/files", list_files),
    _at("get", "/v1/files/{file}", get_file, "id", "status"),
    _at("delete", "/v1/files/{file}", delete_file, "id", "deleted"),
    _post(JobBody, _JOBS, create_job, "id", "status"),
    _listing(_JOBS, list_jobs),
    _at("get", f"{_JOBS}/{{job}}", get_job, "id", "status"),
    _at("post", f"{_JOBS}/{{job}}/cancel", cancel_job, "id", "status"),
    _at("post", f"{_JOBS}/{{job}}/pause", pause_job, "id", "status"),
    _at("post", f"{_JOBS}/{{job}}/resume", resume_job, "id", "status"),
    _listing(f"{_JOBS}/{{job}}/events", list_events, "job"),
    _listing(f"{_JOBS}/{{job}}/checkpoints", list_checkpoints, "job"),
)


def routes(methods: Mapping[str, Method], pipeline: Proceed) -> list[BaseRoute]:
    """All of them, and the document."""
    by_path: dict[str, dict[str, Endpoint]] = {}
    for each in ENTRIES:
        path = each.described.path.replace("{model}", "{model:path}")
        by_path.setdefault(path, {})[each.described.verb.upper()] = each.endpoint
    return [
        *(Route(path, Door(verbs, methods, pipeline)) for path, verbs in by_path.items()),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/v1/audio/{rest:path}", Door({ANY: _no_audio}, methods, pipeline)),
    ]


def nothing(methods: Mapping[str, Method], pipeline: Proceed) -> Door:
    """The answer for every other path under ``/v1``."""
    return Door({ANY: _nothing}, methods, pipeline)


async def _openapi(_: Request) -> JSONResponse:
    return JSONResponse(_document())


@functools.cache  # a tenth of a second's work, which a start need not wait for
def _document() -> dict[str, Any]:
    return document([each.described for each in ENTRIES])


async def _no_audio(_: Mapping[str, Any], __: Caller) -> NoReturn:
    raise ServiceError(Code.NOT_FOUND, Reason.UNSUPPORTED, "there is no model of sounds here")


async def _nothing(_: Mapping[str, Any], __: Caller) -> NoReturn:
    known = ", ".join(f"{each.described.verb.upper()} {each.described.path}" for each in ENTRIES)
    raise ServiceError(
        Code.NOT_FOUND, Reason.METHOD_NOT_FOUND, f"there is no such endpoint, but there are {known}"
    )
