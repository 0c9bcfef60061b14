"""The OpenAPI 3.1 document of the endpoints, made of the bodies they read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from gateway.openai.body import PASSED, Fields
from gateway.openai.form import MEDIA_TYPE

_JSON, _EVENTS = "application/json", "text/event-stream"
_TEMPLATE = "#/components/schemas/{model}"
_FILE = re.compile(r"\b(bytes|Upload)\b")
_IN_PATH = re.compile(r"{(\w+)}")


@dataclass(frozen=True)
class Described:
    """An endpoint as the document has it."""

    path: str
    verb: str
    summary: str
    keys: tuple[str, ...]
    """Always in its answer."""
    body: type[Fields] | None = None
    query: type[Fields] | None = None

    @property
    def media(self) -> str:
        """What its body is: a form where there are files in it."""
        fields = self.body.model_fields.values() if self.body else ()
        return MEDIA_TYPE if any(_FILE.search(str(each.annotation)) for each in fields) else _JSON

    @property
    def streams(self) -> bool:
        """Whether it can answer in events."""
        return self.body is not None and "stream" in self.body.model_fields


def document(endpoints: Sequence[Described]) -> dict[str, Any]:
    """All of it, as JSON has it."""
    schemas: dict[str, Any] = {"Error": _ERROR}
    paths: dict[str, dict[str, Any]] = {}
    for each in endpoints:
        if each.body is not None:
            schemas |= _schemas(each.body, each.media)
        paths.setdefault(each.path, {})[each.verb] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pequod", "version": version("pequod"), "summary": "OpenAI's API, self-hosted"},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _operation(endpoint: Described) -> dict[str, Any]:
    answer = {"type": "object", "required": list(endpoint.keys)}
    content: dict[str, Any] = {_JSON: {"schema": answer}}
    if endpoint.streams:
        content[_EVENTS] = {"schema": {"type": "string", "description": "events, each a JSON object"}}
    error = {"schema": {"$ref": "#/components/schemas/Error"}}
    described: dict[str, Any] = {
        "summary": endpoint.summary,
        "responses": {
            "200": {"description": "done", "content": content},
            "default": {"description": "refused or failed", "content": {_JSON: error}},
        },
    }
    if endpoint.body is not None:
        reference = {"schema": {"$ref": _TEMPLATE.format(model=endpoint.body.__name__)}}
        described["requestBody"] = {"required": True, "content": {endpoint.media: reference}}
    named = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _IN_PATH.findall(endpoint.path)
    ]
    if named or endpoint.query:
        described["parameters"] = [*named, *_queried(endpoint.query)]
    return described


def _queried(query: type[Fields] | None) -> list[dict[str, Any]]:
    found = query.model_json_schema()["properties"] if query else {}
    return [{"name": name, "in": "query", "schema": schema} for name, schema in found.items()]


def _schemas(body: type[Fields], media: str) -> dict[str, Any]:
    """The body's schema and those it refers to, by name."""
    made = body.model_json_schema(ref_template=_TEMPLATE)
    inner = made.pop("$defs", {})
    needed = set(made.get("required", ()))
    if media == MEDIA_TYPE:
        return {**inner, body.__name__: made}  # a form has no null
    properties = {
        name: each if name in needed else _or_null(each) for name, each in made["properties"].items()
    }
    made["properties"] = properties | {name: {"description": "not used"} for name in sorted(PASSED)}
    return {**inner, body.__name__: made}


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Null is as good as not given."""
    if {"type": "null"} in schema.get("anyOf", ()):
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {
                    "type": ["string", "null"],
                    "description": "the reason from the catalogue of errors",
                },
            },
        }
    },
}
