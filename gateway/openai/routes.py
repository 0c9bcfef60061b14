"""The endpoints under ``/v1``, in one table: what is served, and what the OpenAPI document says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.methods import Method
from gateway.openai.answer import Answer
from gateway.openai.body import B, read
from gateway.openai.caller import Caller
from gateway.openai.chat import ChatBody, chat
from gateway.openai.completions import CompletionBody, completions
from gateway.openai.document import Described, document
from gateway.openai.door import Door, Endpoint
from gateway.openai.embeddings import EmbeddingBody, RerankBody, embeddings, rerank
from gateway.openai.images import EditBody, ImageBody, edits, generations
from gateway.openai.models import get_model, list_models
from gateway.openai.responses import ResponseBody, responses
from gateway.openai.tokens import DetokenizeBody, TokenizeBody, detokenize, tokenize
from gateway.pipeline import Proceed
from services.common.errors import Code, Reason, ServiceError


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
    Entry(
        Described("/v1/models", "get", "Every model, once a name.", ("data",)),
        lambda _, caller: list_models(caller),
    ),
    Entry(
        Described("/v1/models/{model}", "get", "A model by a reference.", ("id",)),
        lambda path, caller: get_model(path["model"], caller),
    ),
)


def routes(methods: Mapping[str, Method], pipeline: Proceed) -> list[BaseRoute]:
    """All of them, and the document."""

    def at(path: str, endpoint: Endpoint, verb: str = "") -> Route:
        return Route(path, Door(endpoint, methods, pipeline, verb.upper()))

    described = document([each.described for each in ENTRIES])

    async def openapi(_: Request) -> JSONResponse:
        return JSONResponse(described)

    return [
        *(
            at(each.described.path.replace("{model}", "{model:path}"), each.endpoint, each.described.verb)
            for each in ENTRIES
        ),
        Route("/openapi.json", openapi, methods=["GET"]),
        at("/v1/audio/{rest:path}", _no_audio),
    ]


def nothing(methods: Mapping[str, Method], pipeline: Proceed) -> Door:
    """The answer for every other path under ``/v1``."""
    return Door(_nothing, methods, pipeline)


async def _no_audio(_: Mapping[str, Any], __: Caller) -> NoReturn:
    raise ServiceError(Code.NOT_FOUND, Reason.UNSUPPORTED, "there is no model of sounds here")


async def _nothing(_: Mapping[str, Any], __: Caller) -> NoReturn:
    known = ", ".join(f"{each.described.verb.upper()} {each.described.path}" for each in ENTRIES)
    raise ServiceError(
        Code.NOT_FOUND, Reason.METHOD_NOT_FOUND, f"there is no such endpoint, but there are {known}"
    )
