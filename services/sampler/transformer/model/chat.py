"""Chat templates: a conversation rendered as the model was trained on it, in Jinja's sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

from services.common.errors import invalid
from services.sampler.engine import Message
from services.sampler.ngrams.alphabet import Ids
from services.sampler.transformer.model.vocabulary import Vocabulary


class ChatTemplate:
    """A model's template, with the functions and variables that Transformers gives to templates."""

    def __init__(self, template: str, special_tokens: Mapping[str, str], vocabulary: Vocabulary) -> None:
        """Raises ValueError for a template that is none."""
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = _now
        try:
            self._template: Template = environment.from_string(template)
        except TemplateError as error:
            raise ValueError(f"the chat template cannot be read: {error}") from None
        self._special_tokens = dict(special_tokens)
        self._vocabulary = vocabulary

    def encode(self, messages: Sequence[Message]) -> Ids:
        """The prompt that asks for the next message."""
        return self._vocabulary.encode_rendered(self.render(messages))

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as text. Raises INVALID_ARGUMENT with the template's own words."""
        conversation = [{"role": each.role, "content": each.content} for each in messages]
        try:
            return self._template.render(
                messages=conversation, add_generation_prompt=True, **self._special_tokens
            )
        except TemplateError as error:
            raise invalid("chat", f"the model's chat template refuses it: {error}") from None


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
