"""Reads requests: every field is checked here, and an error names the field."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pequod.tokenizer import v1
from services.common.errors import Code, Reason, ServiceError, invalid, unsupported
from services.common.rpc.fields import enum
from services.tokenizer.engine import EmbedOptions, Input, Pooling, Precision, Truncation
from services.tokenizer.tokens.encoding import Encoding, Specials

MAX_ITEMS = 10_000
MAX_TEXT_BYTES = 2**20
MAX_TEXTS_BYTES = 16 * 2**20
MAX_IDS = 2**20
MAX_SPECIALS = 1000
MAX_COMPARED = 1000
MAX_NEIGHBORS = 1000
DEFAULT_NEIGHBORS = 10
MAX_ANALOGY_WORDS = 100

_POOLING = {
    v1.POOLING_UNSPECIFIED: None,
    v1.POOLING_MEAN: Pooling.MEAN,
    v1.POOLING_CLS: Pooling.CLS,
    v1.POOLING_LAST: Pooling.LAST,
    v1.POOLING_MAX: Pooling.MAX,
}
_TRUNCATION = {
    v1.TRUNCATION_UNSPECIFIED: Truncation.REFUSE,
    v1.TRUNCATION_REFUSE: Truncation.REFUSE,
    v1.TRUNCATION_END: Truncation.END,
    v1.TRUNCATION_START: Truncation.START,
}
_PRECISION = {
    v1.PRECISION_UNSPECIFIED: None,
    v1.PRECISION_INT8: Precision.INT8,
    v1.PRECISION_FP32: Precision.FP32,
}


@dataclass(frozen=True)
class Spelling:
    """How special tokens spelt in a text are treated, before the encoding is known."""

    spelt: int
    allowed: tuple[str, ...]
    around: bool

    def of(self, encoding: Encoding, texts: Sequence[str]) -> Specials:
        """For one encoding and what it is to cut; a search through all of it, so not for the event loop.

        Raises INVALID_ARGUMENT for an allowed token that the encoding does not have, and for a text that
        spells a special token where that is to be refused.
        """
        for place, name in enumerate(self.allowed):
            if name not in encoding.special_tokens:
                known = ", ".join(sorted(encoding.special_tokens)) or "none"
                raise invalid(f"special.allowed_special[{place}]", f"{name!r} is none of {known}")
        if self.spelt == v1.SPECIAL_TOKENS_REFUSE:
            _refuse_spelt(texts, encoding)
        if self.spelt != v1.SPECIAL_TOKENS_ALLOW:
            return Specials(frozenset(), self.around)
        return Specials(frozenset(self.allowed or encoding.special_tokens), self.around)


def read_spelling(options: v1.SpecialTokenOptions) -> Spelling:
    """The special token options."""
    enum("special.spelt", options.spelt, v1.SpecialTokens)
    check_count("special.allowed_special", len(options.allowed_special), 0, MAX_SPECIALS)
    return Spelling(options.spelt, tuple(options.allowed_special), options.add_special_tokens)


def read_texts(texts: Sequence[str]) -> list[str]:
    """Texts to cut; an empty one has no tokens."""
    check_count("texts", len(texts), 1, MAX_ITEMS)
    total = 0
    for place, text in enumerate(texts):
        total += check_size(f"texts[{place}]", text)
    if total > MAX_TEXTS_BYTES:
        raise invalid("texts", f"{total} bytes together, at most {MAX_TEXTS_BYTES} (16 MiB)")
    return list(texts)


def read_sequences(request: v1.DetokenizeRequest, encoding: Encoding) -> list[list[int]]:
    """Sequences of ids, all of them in the vocabulary."""
    check_ids("sequences", (len(sequence.ids) for sequence in request.sequences))
    sequences = [list(sequence.ids) for sequence in request.sequences]
    for place, ids in enumerate(sequences):
        for at, token in enumerate(ids):
            if not encoding.has(token):
                raise invalid(
                    f"sequences[{place}].ids[{at}]",
                    f"{token} is no id of this vocabulary of {encoding.vocabulary_size}",
                )
    return sequences


def read_inputs(field: str, inputs: Sequence[v1.EmbedInput], least: int, most: int) -> list[Input]:
    """Inputs to embed."""
    check_count(field, len(inputs), least, most)
    check_ids(field, (len(each.ids.ids) for each in inputs))
    return [read_input(f"{field}[{place}]", each) for place, each in enumerate(inputs)]


def read_input(field: str, given: v1.EmbedInput) -> Input:
    """One input to embed."""
    kind = given.WhichOneof("input")
    if kind == "text":
        if not given.text:
            raise invalid(f"{field}.text", "must not be empty")
        check_size(f"{field}.text", given.text)
        return Input(field, text=given.text)
    if kind == "ids":
        check_ids(f"{field}.ids", [len(given.ids.ids)])
        return Input(field, ids=list(given.ids.ids))
    if kind == "image":
        return Input(field, image=given.image.data)
    raise invalid(field, "holds neither text, ids nor an image")


def read_options(options: v1.EmbedOptions) -> EmbedOptions:
    """How inputs become vectors, before the model is known."""
    enum("options.pooling", options.pooling, v1.Pooling)
    enum("options.format", options.format, v1.VectorFormat)
    return EmbedOptions(
        pooling=_POOLING[options.pooling],
        normalize=options.normalize if options.HasField("normalize") else None,
        dimensions=options.dimensions or None,
        truncation=read_truncation("options.truncation", options.truncation),
        prompt=options.prompt_name,
        precision=read_precision("options.precision", options.precision),
    )


def read_truncation(field: str, value: v1.Truncation.ValueType) -> Truncation:
    """What to do with what is too long."""
    enum(field, value, v1.Truncation)
    return _TRUNCATION[value]


def read_precision(field: str, value: v1.Precision.ValueType) -> Precision | None:
    """Number format; None for the model's."""
    enum(field, value, v1.Precision)
    if value not in _PRECISION:
        name = v1.Precision.Name(value).removeprefix("PRECISION_")
        raise unsupported(f"{field}: {name} is not available; INT8 and FP32 are")
    return _PRECISION[value]


def read_measure(value: v1.SimilarityMeasure.ValueType) -> bool:
    """Whether vectors are compared by cosine; else by dot product."""
    enum("measure", value, v1.SimilarityMeasure)
    return value != v1.SIMILARITY_MEASURE_DOT


def read_limit(value: int) -> int:
    """How many words to return."""
    if value > MAX_NEIGHBORS:
        raise invalid("limit", f"must be in 0..{MAX_NEIGHBORS}, got {value}")
    return value or DEFAULT_NEIGHBORS


def read_vector(values: Sequence[float], dimensions: int) -> list[float]:
    """A vector to search around."""
    if len(values) != dimensions:
        raise invalid("vector.values", f"has {len(values)} values, the model's vectors {dimensions}")
    if not all(map(math.isfinite, values)):
        raise invalid("vector.values", "must be finite")
    if not any(values):
        raise invalid("vector.values", "must not be all zero")
    return list(values)


def read_multiplies(value: v1.AnalogyMethod.ValueType) -> bool:
    """Whether an analogy multiplies similarities; else it adds vectors."""
    enum("method", value, v1.AnalogyMethod)
    return value == v1.ANALOGY_METHOD_MULTIPLY


def check_count(field: str, count: int, least: int, most: int) -> None:
    """Raises INVALID_ARGUMENT when a list is too short or too long."""
    if not least <= count <= most:
        raise invalid(field, f"must have {least}..{most:,} entries, got {count:,}")


def check_ids(field: str, counts: Iterable[int]) -> None:
    """Raises INVALID_ARGUMENT for more ids together than texts of the largest size could have."""
    if (total := sum(counts)) > MAX_IDS:
        raise invalid(field, f"{total:,} ids together, at most {MAX_IDS:,}")


def check_size(field: str, text: str) -> int:
    """Bytes of ``text``. Raises INVALID_ARGUMENT beyond the limit."""
    size = len(text) if text.isascii() else len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise invalid(field, f"has {size} bytes, at most {MAX_TEXT_BYTES} (1 MiB)")
    return size


def check_precision(model: str, wanted: Precision | None, offered: Sequence[Precision]) -> Precision:
    """The format to compute in. FAILED_PRECONDITION when the model does not have the one asked for."""
    if wanted is None:
        return offered[0]
    if wanted not in offered:
        names = ", ".join(each.name for each in offered)
        raise ServiceError(
            Code.FAILED_PRECONDITION,
            Reason.UNSUPPORTED,
            f"precision {wanted.name} is not available for model {model!r} here; available: {names}",
        )
    return wanted


def check_dimensions(wanted: int | None, dimensions: int) -> None:
    """Raises INVALID_ARGUMENT for more dimensions than there are."""
    if wanted is not None and wanted > dimensions:
        raise invalid("options.dimensions", f"must be in 1..{dimensions}, got {wanted}")


def _refuse_spelt(texts: Sequence[str], encoding: Encoding) -> None:
    for place, text in enumerate(texts):
        for name in encoding.special_tokens:
            if name in text:
                raise invalid(f"texts[{place}]", f"spells the special token {name!r}")
