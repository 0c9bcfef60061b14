"""Questions about words: each is answered by one job in a worker thread."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pequod.common.v1 import Usage
from pequod.tokenizer import v1
from services.common.errors import Code, FieldViolation, Reason, ServiceError, invalid
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.work import Work
from services.tokenizer import replies
from services.tokenizer.meter import Meter
from services.tokenizer.models import Held, Models
from services.tokenizer.request import (
    MAX_ANALOGY_WORDS,
    MAX_ITEMS,
    check_count,
    read_limit,
    read_multiplies,
    read_vector,
)
from services.tokenizer.words.vectors import Found, WordVectors, as_vector
from services.tokenizer.words.vocabulary import Vocabulary

T = TypeVar("T")


class WordQuestions:
    """Neighbours, analogies and similarities of words."""

    def __init__(self, models: Models, work: Work) -> None:
        self._models = models
        self._work = work

    async def neighbors(self, request: v1.NeighborsRequest, context: Context) -> v1.NeighborsResponse:
        """The words nearest to a word, itself not among them, or to a vector."""
        limit = read_limit(request.limit)
        check_count("exclude", len(request.exclude), 0, MAX_ITEMS)
        async with self._models.words(request.model) as held:
            found, usage = await self._answer(held, partial(_neighbors, request, limit), context)
            return v1.NeighborsResponse(
                neighbors=replies.neighbors(held.model.vocabulary, found), usage=usage
            )

    async def analogy(self, request: v1.AnalogyRequest, context: Context) -> v1.AnalogyResponse:
        """The words nearest to what the positive words have in common and the negative ones have not."""
        limit, multiplies = read_limit(request.limit), read_multiplies(request.method)
        check_count("negative", len(request.negative), 0, MAX_ANALOGY_WORDS)
        check_count("positive", len(request.positive) + len(request.negative), 1, MAX_ANALOGY_WORDS)
        async with self._models.words(request.model) as held:
            job = partial(_analogy, request, limit, multiplies)
            found, usage = await self._answer(held, job, context)
            return v1.AnalogyResponse(neighbors=replies.neighbors(held.model.vocabulary, found), usage=usage)

    async def similarity(
        self, request: v1.WordSimilarityRequest, context: Context
    ) -> v1.WordSimilarityResponse:
        """Dot product and cosine of each pair."""
        check_count("pairs", len(request.pairs), 1, MAX_ITEMS)
        async with self._models.words(request.model) as held:
            similarities, usage = await self._answer(held, partial(_similarity, request), context)
            return v1.WordSimilarityResponse(similarities=similarities, usage=usage)

    async def _answer(
        self, held: Held[WordVectors], answer: Callable[[WordVectors], T], context: Context
    ) -> tuple[T, Usage]:
        meter = Meter()
        await accepted(context)
        served = await self._work.run(partial(answer, held.model), deadline_of(context))
        meter.note([served])
        usage = meter.usage(held.version)
        report(context, usage)
        return served.value, usage


def _neighbors(request: v1.NeighborsRequest, limit: int, model: WordVectors) -> list[Found]:
    # A word to leave out that is not known leaves nothing out.
    known = (model.vocabulary.number(word) for word in request.exclude)
    exclude = {number for number in known if number is not None}
    origin = request.WhichOneof("origin")
    if origin == "vector":
        values = read_vector(request.vector.values, model.dimensions)
        return model.near(as_vector(values), limit, exclude)
    if origin != "word":
        raise invalid("word", "a word or a vector is required")
    (number,) = _numbers(model.vocabulary, [("word", request.word)])
    return model.near(model.unit[number], limit, {number, *exclude})


def _analogy(request: v1.AnalogyRequest, limit: int, multiplies: bool, model: WordVectors) -> list[Found]:
    asked = [(f"positive[{place}]", word) for place, word in enumerate(request.positive)]
    asked += [(f"negative[{place}]", word) for place, word in enumerate(request.negative)]
    numbers = _numbers(model.vocabulary, asked)
    positive, negative = numbers[: len(request.positive)], numbers[len(request.positive) :]
    return (model.multiply if multiplies else model.add)(positive, negative, limit)


def _similarity(request: v1.WordSimilarityRequest, model: WordVectors) -> list[v1.WordPairSimilarity]:
    asked = [
        (f"pairs[{place}].{side}", word)
        for place, pair in enumerate(request.pairs)
        for side, word in (("first", pair.first), ("second", pair.second))
    ]
    numbers = _numbers(model.vocabulary, asked)
    compared = (model.compare(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True))
    return [v1.WordPairSimilarity(dot_product=dot, cosine=cosine) for dot, cosine in compared]


def _numbers(vocabulary: Vocabulary, asked: Sequence[tuple[str, str]]) -> list[int]:
    """The numbers of (field, word). INVALID_ARGUMENT naming every word that is not known."""
    found = [(field, word, vocabulary.number(word)) for field, word in asked]
    unknown = [(field, word) for field, word, number in found if number is None]
    if unknown:
        words = ", ".join(dict.fromkeys(repr(word[:80]) for _, word in unknown[:50]))
        raise ServiceError(
            Code.INVALID_ARGUMENT,
            Reason.INVALID_FIELD,
            f"{unknown[0][0]}: not in the vocabulary: {words}",
            violations=tuple(
                FieldViolation(field, f"{word[:80]!r} is not in the vocabulary")
                for field, word in unknown[:50]
            ),
        )
    return [number for _, _, number in found if number is not None]
