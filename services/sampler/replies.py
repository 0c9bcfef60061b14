"""Builds replies: what the engine gave, in protobuf."""

from __future__ import annotations

import math

from pequod.common.v1 import Usage
from pequod.sampler import v1
from services.common.store import ModelVersion
from services.sampler.engine import Finish, Inside, Output, Position, Table
from services.sampler.ngrams.alphabet import UNKNOWN, Alphabet
from services.sampler.request import Question
from services.sampler.scheduler import Timing

UNKNOWN_ID = 2**32 - 1
"""Id shown for a character that the model's alphabet lacks."""

_LARGEST_EXPONENT = 709.0
"""exp of more than this overflows a double."""

FINISHES = {
    None: v1.FINISH_REASON_UNSPECIFIED,
    Finish.STOP: v1.FINISH_REASON_STOP,
    Finish.LENGTH: v1.FINISH_REASON_LENGTH,
    Finish.EXHAUSTED: v1.FINISH_REASON_EXHAUSTED,
}


def usage(timing: Timing, version: ModelVersion, input_tokens: int, output_tokens: int) -> Usage:
    """What a request used."""
    return Usage(
        queue_ms=timing.queue_seconds * 1e3,
        compute_ms=timing.compute_seconds * 1e3,
        batch_rows=timing.batch_rows,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        model=version.name,
        version=version.version,
    )


def completion(index: int, output: Output, alphabet: Alphabet, prompt: str) -> v1.Completion:
    """One whole completion, after ``prompt`` (empty unless it is to be echoed)."""
    return v1.Completion(
        index=index,
        text=prompt + output.text,
        ids=output.ids,
        finish_reason=FINISHES[output.finish],
        stop_matched=output.stop_matched,
        tokens=positions(output.positions, alphabet),
        cumulative_logprob=output.logprob,
    )


def part(index: int, output: Output, alphabet: Alphabet, prompt: str) -> v1.GenerateStreamResponse:
    """What one step added to a completion, after ``prompt`` (empty unless it is to be echoed now)."""
    return v1.GenerateStreamResponse(
        index=index,
        text=prompt + output.text,
        ids=output.ids,
        tokens=positions(output.positions, alphabet),
        finish_reason=FINISHES[output.finish],
        stop_matched=output.stop_matched,
    )


def table(shown: Table, alphabet: Alphabet, used: Usage) -> v1.NextTokensResponse:
    """The table of next symbols."""
    rows = [
        v1.NextToken(
            id=row.symbol,
            text=_shown(alphabet.piece(row.symbol)),
            piece=alphabet.piece(row.symbol),
            probability=row.probability,
            logprob=row.logprob,
            count=row.count,
        )
        for row in shown.rows
    ]
    return v1.NextTokensResponse(
        tokens=rows,
        candidates=shown.candidates,
        entropy_bits=shown.entropy_bits,
        context_used=shown.context_used,
        context_count=shown.context_count,
        usage=used,
    )


def score(output: Output, alphabet: Alphabet, text: str, used: Usage) -> v1.ScoreResponse:
    """The likelihood of ``text``; infinite values where a position was impossible."""
    per_symbol = -output.logprob / output.scored
    return v1.ScoreResponse(
        log_likelihood=output.logprob,
        perplexity=math.exp(per_symbol) if per_symbol < _LARGEST_EXPONENT else math.inf,
        bits_per_token=per_symbol / math.log(2),
        scored_tokens=output.scored,
        impossible_tokens=output.impossible,
        tokens=positions(output.prompt_positions, alphabet, text),
        usage=used,
    )


def inside(
    seen: Inside, ids: list[int], question: Question, alphabet: Alphabet, used: Usage
) -> v1.InspectResponse:
    """The three phases of one pass over ``ids``."""
    last = len(seen.norms) - 1
    states = [state for state in range(last + 1) if not question.layers or state in question.layers]
    layers = [
        v1.LayerReport(
            layer=state,
            residual_norms=seen.norms[state].tolist(),
            readout=[_token(each.symbol, each.logprob, alphabet) for each in seen.readouts[state]],
            heads=_heads(seen, state) if question.attention else (),
        )
        for state in states
    ]
    return v1.InspectResponse(
        tokens=[_token(symbol, 0.0, alphabet) for symbol in ids],
        dimensions=seen.embeddings.shape[1],
        layers=layers,
        next=[_token(each.symbol, each.logprob, alphabet) for each in seen.readouts[last]],
        usage=used,
        embeddings=seen.embeddings.ravel().tolist() if question.embeddings else (),
    )


def _heads(seen: Inside, state: int) -> list[v1.HeadAttention]:
    """The attention of the layer that made a state; none made the embedding."""
    if state == 0:
        return []
    heads = seen.attention[state - 1]
    return [
        v1.HeadAttention(head=head, weights=weights.ravel().tolist()) for head, weights in enumerate(heads)
    ]


def positions(scored: list[Position], alphabet: Alphabet, text: str = "") -> list[v1.ScoredToken]:
    """Positions with their alternatives; ``text`` is what they stand for, to show unknown characters."""
    return [
        v1.ScoredToken(
            token=_token(position.symbol, position.logprob, alphabet, text[place : place + 1]),
            top=[_token(other.symbol, other.logprob, alphabet) for other in position.top],
            context_used=position.context_used,
        )
        for place, position in enumerate(scored)
    ]


def _token(symbol: int, logprob: float, alphabet: Alphabet, character: str = "") -> v1.TokenLogprob:
    if symbol == UNKNOWN:
        return v1.TokenLogprob(id=UNKNOWN_ID, text=character, piece=character.encode(), logprob=logprob)
    piece = alphabet.piece(symbol)
    return v1.TokenLogprob(id=symbol, text=_shown(piece), piece=piece, logprob=logprob)


def _shown(piece: bytes) -> str:
    return piece.decode(errors="replace")
