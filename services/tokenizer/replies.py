"""Builds replies: what encodings and engines gave, in protobuf."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pequod.tokenizer import v1
from services.common.store import ModelVersion
from services.tokenizer.engine import Floats, Row
from services.tokenizer.tokens.encoding import Encoding, Tokens
from services.tokenizer.tokens.utf8 import incomplete
from services.tokenizer.words.vectors import Found
from services.tokenizer.words.vocabulary import Vocabulary

_ALGORITHMS = {
    "byte_bpe": v1.TOKENIZER_ALGORITHM_BYTE_BPE,
    "bpe": v1.TOKENIZER_ALGORITHM_BPE,
    "wordpiece": v1.TOKENIZER_ALGORITHM_WORDPIECE,
    "unigram": v1.TOKENIZER_ALGORITHM_UNIGRAM,
    "word_level": v1.TOKENIZER_ALGORITHM_WORD_LEVEL,
}


def fill_tokenization(
    reply: v1.Tokenization, encoding: Encoding, tokens: Tokens, pieces: bool, before: int
) -> None:
    """Put one text's tokens, of which there were ``before`` until a limit cut them, into ``reply``.

    In place: a message made apart would be copied into the response.
    """
    reply.ids.extend(tokens.ids)
    reply.truncated = len(tokens.ids) < before
    if pieces:
        spelt = [encoding.piece(token) for token in tokens.ids]
        reply.pieces.extend(spelt)
        reply.piece_texts.extend(piece.decode(errors="replace") for piece in spelt)
    if tokens.starts is not None and tokens.ends is not None:
        reply.starts.extend(tokens.starts.tolist())
        reply.ends.extend(tokens.ends.tolist())


def detokenization(data: bytes) -> v1.Detokenization:
    """One sequence's text."""
    return v1.Detokenization(text=data.decode(errors="replace"), data=data, incomplete_bytes=incomplete(data))


def encoding(version: ModelVersion) -> v1.Encoding:
    """One encoding, from its manifest."""
    config = version.manifest.config
    special_tokens = config.get("special_tokens") or {}
    assert isinstance(special_tokens, dict), "recipes write a table of special tokens"
    return v1.Encoding(
        name=version.name,
        version=version.version,
        algorithm=_ALGORITHMS.get(str(config.get("algorithm")), v1.TOKENIZER_ALGORITHM_UNSPECIFIED),
        vocabulary_size=int(str(config.get("vocabulary_size", 0))),
        special_tokens={name: int(str(token)) for name, token in special_tokens.items()},
        lossless=bool(config.get("lossless")),
    )


def embeddings(
    first: int, rows: Sequence[Row], vectors: Sequence[Floats], as_bytes: bool
) -> list[v1.Embedding]:
    """Vectors of the inputs from number ``first`` on."""
    made = []
    for index, (row, vector) in enumerate(zip(rows, vectors, strict=True), start=first):
        reply = v1.Embedding(index=index, input_tokens=len(row.ids), truncated=row.truncated)
        if as_bytes:
            reply.data = vector.astype("<f4").tobytes()
        else:
            reply.values.extend(vector.tolist())
        made.append(reply)
    return made


def ranked(
    scores: Sequence[float], texts: Sequence[str], top_n: int, with_texts: bool
) -> list[v1.RankedDocument]:
    """The best ``top_n`` documents (0: all), best first."""
    order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    return [
        v1.RankedDocument(index=index, score=scores[index], text=texts[index] if with_texts else "")
        for index in order[: top_n or len(order)]
    ]


def neighbors(vocabulary: Vocabulary, found: Sequence[Found]) -> list[v1.Neighbor]:
    """Words found."""
    return [
        v1.Neighbor(word=vocabulary.word(each.number), similarity=each.score, rank=each.number)
        for each in found
    ]


def probability(logit: float) -> float:
    """The logistic function, which overflows nowhere."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    return math.exp(logit) / (1.0 + math.exp(logit))
