"""From texts to the rows that an encoder reads: prefix, tokens, template, and what to do with too many."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer

from services.common.errors import ServiceError, invalid
from services.tokenizer.encoders.directory import EncoderConfig
from services.tokenizer.engine import EmbedOptions, Input, Row, Truncation
from services.tokenizer.families.tokenizer_json import refusing
from services.tokenizer.tokens.template import pair_template_of, template_of


class Reader:
    """Cuts texts for one model. It may be used from several threads at once."""

    def __init__(self, tokenizer: Tokenizer, config: EncoderConfig, vocabulary_size: int) -> None:
        """``vocabulary_size``: rows of the model's embedding table."""
        self._tokenizer = tokenizer
        self._config = config
        self._vocabulary_size = vocabulary_size
        self._single = template_of(tokenizer)
        self._pair = pair_template_of(tokenizer)
        if self._single.size >= config.max_tokens:
            raise ValueError(
                f"the model reads {config.max_tokens} tokens, its template alone has {self._single.size}"
            )

    def rows(self, inputs: Sequence[Input], options: EmbedOptions) -> list[Row]:
        """One row an input."""
        prefix = self._prefix(options.prompt)
        pooling = options.pooling or self._config.pooling
        room = self._config.max_tokens - self._single.size
        rows = []
        for each, ids in zip(inputs, self._ids(inputs, prefix), strict=True):
            kept = _cut(each.field, ids, room, self._single.size, options.truncation)
            wrapped = self._single.wrap(kept)
            if not wrapped.ids:  # a mean over nothing would be no number
                raise invalid(each.field, "holds no token of this model's vocabulary")
            rows.append(Row(wrapped.ids, (), pooling, len(kept) < len(ids)))
        return rows

    def pairs(self, query: Input, documents: Sequence[Input], truncation: Truncation) -> list[Row]:
        """One row a document, after the query. Of what is too long the document is cut."""
        (first,) = self._ids([query], "")
        room = self._config.max_tokens - self._pair.size - len(first)
        if room < 1:
            raise invalid(query.field, _too_long(len(first), self._config.max_tokens - self._pair.size - 1))
        rows = []
        for each, ids in zip(documents, self._ids(documents, ""), strict=True):
            kept = _cut(each.field, ids, room, self._pair.size + len(first), truncation)
            wrapped = self._pair.wrap(first, kept)
            rows.append(Row(wrapped.ids, wrapped.type_ids, truncated=len(kept) < len(ids)))
        return rows

    def _prefix(self, prompt: str) -> str:
        name = prompt or self._config.default_prompt
        if not name:
            return ""
        if name not in self._config.prompts:
            known = ", ".join(self._config.prompts) or "none"
            raise invalid("options.prompt_name", f"{name!r} is no prompt of this model; it has {known}")
        return self._config.prompts[name]

    def _ids(self, inputs: Sequence[Input], prefix: str) -> list[Sequence[int]]:
        """The ids of each input without the template; texts are cut together, which uses all cores given."""
        texts = [prefix + each.text for each in inputs if each.ids is None]
        if self._config.lowercase:
            texts = [text.lower() for text in texts]
        with refusing():
            cut = iter(self._tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        return [next(cut).ids if each.ids is None else self._checked(each) for each in inputs]

    def _checked(self, given: Input) -> Sequence[int]:
        assert given.ids is not None
        if not given.ids:
            raise invalid(f"{given.field}.ids", "holds no id")
        largest = max(given.ids)
        if largest >= self._vocabulary_size:
            raise invalid(
                f"{given.field}.ids",
                f"id {largest} is not in the vocabulary of {self._vocabulary_size} tokens",
            )
        return given.ids


def _cut(field: str, ids: Sequence[int], room: int, around: int, truncation: Truncation) -> Sequence[int]:
    if len(ids) <= room:
        return ids
    if truncation is Truncation.REFUSE:
        raise _refused(field, len(ids) + around, room + around)
    return ids[:room] if truncation is Truncation.END else ids[-room:]


def _refused(field: str, length: int, limit: int) -> ServiceError:
    return invalid(field, f"{_too_long(length, limit)}; set truncation to cut it")


def _too_long(length: int, limit: int) -> str:
    return f"has {length} tokens, the model reads {limit}"
