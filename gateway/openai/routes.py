"""The endpoints under ``/v1``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from starlette.routing import BaseRoute, Route

from gateway.methods import Method
from gateway.openai.answer import Answer
from gateway.openai.body import B, read
from gateway.openai.caller import Caller
from gateway.openai.chat import ChatBody, chat
from gateway.openai.completions import CompletionBody, completions
from gateway.openai.door import Door, Endpoint
from gateway.openai.embeddings import EmbeddingBody, RerankBody, embeddings, rerank
from gateway.openai.images import ImageBody, generations
from gateway.openai.models import get_model, list_models
from gateway.openai.tokens import DetokenizeBody, TokenizeBody, detokenize, tokenize
from gateway.pipeline import Proceed
from services.common.errors import Code, Reason, ServiceError

_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(methods: Mapping[str, Method], pipeline: Proceed) -> list[BaseRoute]:
    """All of them, and an answer for every other path under ``/v1``."""

    def at(path: str, method: str, endpoint: Endpoint) -> Route:
        return Route(f"/v1/{path}", Door(endpoint, methods, pipeline), methods=[method])

    return [
        at("chat/completions", "POST", _posted(ChatBody, chat)),
        at("completions", "POST", _posted(CompletionBody, completions)),
        at("embeddings", "POST", _posted(EmbeddingBody, embeddings)),
        at("images/generations", "POST", _posted(ImageBody, generations)),
        at("rerank", "POST", _posted(RerankBody, rerank)),
        at("tokenize", "POST", _posted(TokenizeBody, tokenize)),
        at("detokenize", "POST", _posted(DetokenizeBody, detokenize)),
        at("models", "GET", lambda _, caller: list_models(caller)),
        at("models/{model:path}", "GET", lambda path, caller: get_model(path["model"], caller)),
        Route("/v1/audio/{rest:path}", Door(_no_audio, methods, pipeline), methods=_METHODS),
        Route("/v1/{rest:path}", Door(_nothing, methods, pipeline), methods=_METHODS),
    ]


def _posted(kind: type[B], endpoint: Callable[[B, Caller], Awaitable[Answer]]) -> Endpoint:
    def answer(value: Mapping[str, Any], caller: Caller) -> Awaitable[Answer]:
        return endpoint(read(kind, value), caller)

    return answer


async def _no_audio(_: Mapping[str, Any], __: Caller) -> NoReturn:
    raise ServiceError(Code.NOT_FOUND, Reason.UNSUPPORTED, "there is no model of sounds here")


async def _nothing(_: Mapping[str, Any], __: Caller) -> NoReturn:
    known = (
        "chat/completions, completions, embeddings, images/generations, rerank, tokenize, detokenize, models"
    )
    raise ServiceError(
        Code.NOT_FOUND, Reason.METHOD_NOT_FOUND, f"there is no such endpoint; under /v1 there are {known}"
    )
