"""TokenizerService: checks a request, has the encoding do its work in a thread, makes the reply."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pequod.common.v1 import Usage
from pequod.tokenizer import v1
from services.common.rpc.paging import page_of
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.work import Work
from services.tokenizer import replies
from services.tokenizer.meter import Meter
from services.tokenizer.models import Models
from services.tokenizer.request import (
    MAX_ITEMS,
    Spelling,
    check_count,
    read_sequences,
    read_spelling,
    read_texts,
)
from services.tokenizer.tokens.encoding import Encoding, Tokens


class TokenizerServicer(v1.TokenizerServiceServicer):
    """The RPCs about tokens. It keeps no state of its own."""

    def __init__(self, models: Models, work: Work) -> None:
        self._models = models
        self._work = work

    async def Tokenize(self, request: v1.TokenizeRequest, context: Context) -> v1.TokenizeResponse:
        """Ids, and pieces and offsets where asked for."""
        meter = Meter()
        texts, spelling = read_texts(request.texts), read_spelling(request.special)
        async with self._models.encoding(request.model) as held:
            await accepted(context)
            job = partial(_tokenize, held.model, texts, spelling, request)
            served = await self._work.run(job, deadline_of(context))
        meter.note([served])
        reply = served.value
        meter.input_tokens = sum(len(each.ids) for each in reply.tokenizations)
        reply.usage.CopyFrom(meter.usage(held.version))
        report(context, reply.usage)
        return reply

    async def Detokenize(self, request: v1.DetokenizeRequest, context: Context) -> v1.DetokenizeResponse:
        """Text of ids."""
        meter = Meter()
        check_count("sequences", len(request.sequences), 1, MAX_ITEMS)
        async with self._models.encoding(request.model) as held:
            await accepted(context)
            job = partial(_detokenize, held.model, request)
            served = await self._work.run(job, deadline_of(context))
        meter.note([served])
        meter.input_tokens = sum(len(sequence.ids) for sequence in request.sequences)
        usage = meter.usage(held.version)
        report(context, usage)
        return v1.DetokenizeResponse(detokenizations=served.value, usage=usage)

    async def CountTokens(self, request: v1.CountTokensRequest, context: Context) -> v1.CountTokensResponse:
        """Numbers of tokens."""
        meter = Meter()
        texts, spelling = read_texts(request.texts), read_spelling(request.special)
        async with self._models.encoding(request.model) as held:
            await accepted(context)
            job = partial(_count, held.model, texts, spelling)
            served = await self._work.run(job, deadline_of(context))
        meter.note([served])
        meter.input_tokens = total = sum(served.value)
        usage = meter.usage(held.version)
        report(context, usage)
        return v1.CountTokensResponse(counts=served.value, total=total, usage=usage)

    async def ListEncodings(
        self, request: v1.ListEncodingsRequest, context: Context
    ) -> v1.ListEncodingsResponse:
        """A page of encodings, from their manifests: none need be loaded."""
        versions = await self._models.list_encodings()
        page, next_token = page_of(versions, request.page_size, request.page_token)
        return v1.ListEncodingsResponse(
            encodings=[replies.encoding(version) for version in page],
            next_page_token=next_token,
            usage=Usage(),
        )


def _tokenize(
    encoding: Encoding, texts: Sequence[str], spelling: Spelling, request: v1.TokenizeRequest
) -> v1.TokenizeResponse:
    specials = spelling.of(encoding, texts)
    reply = v1.TokenizeResponse()
    for text in texts:
        tokens = encoding.encode(text, specials, request.offsets)
        kept = _limited(tokens, request.max_tokens)
        replies.fill_tokenization(reply.tokenizations.add(), encoding, kept, request.pieces, len(tokens.ids))
    return reply


def _limited(tokens: Tokens, limit: int) -> Tokens:
    if not limit or len(tokens.ids) <= limit:
        return tokens
    starts, ends = tokens.starts, tokens.ends
    return Tokens(
        tokens.ids[:limit],
        None if starts is None else starts[:limit],
        None if ends is None else ends[:limit],
    )


def _detokenize(encoding: Encoding, request: v1.DetokenizeRequest) -> list[v1.Detokenization]:
    return [
        replies.detokenization(encoding.decode(ids, request.skip_special_tokens))
        for ids in read_sequences(request, encoding)
    ]


def _count(encoding: Encoding, texts: Sequence[str], spelling: Spelling) -> list[int]:
    specials = spelling.of(encoding, texts)
    return [encoding.count(text, specials) for text in texts]
