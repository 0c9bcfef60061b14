"""What a sequence is told of logits: scores of a text, the next tokens, a position's alternatives."""

from __future__ import annotations

import numpy as np

from services.sampler.engine import Alternative, Position, Table, TableRow
from services.sampler.sampling import History, candidates
from services.sampler.sequence import Sequence
from services.sampler.transformer.choice import likeliest, log_sum_of, log_sums
from services.sampler.transformer.forms import Matcher
from services.sampler.transformer.runner import Logits


def allowed(sequence: Sequence, logits: Logits, matcher: Matcher | None) -> Logits | None:
    """Logits [vocabulary] with -inf for the tokens that may not come; None when none may.

    None ends a text before min_tokens, unless its form leaves nothing else.
    """
    if matcher is not None:
        logits = matcher.restrict(logits)
        if logits.max() == -np.inf:
            return None
    stopping = sequence.plan.stopping
    ends = stopping.stop_ids | stopping.eos
    if sequence.produced >= stopping.min_tokens or not ends:
        return logits
    without = logits.copy()
    without[list(ends)] = -np.inf
    return logits if without.max() == -np.inf else without


def position(token: int, logits: Logits, log_sum: float, top: int) -> Position:
    """A token of logits [vocabulary] with its alternatives, likeliest first."""
    ids = likeliest(logits, top) if top else np.empty(0, np.int64)
    order = ids[np.argsort(-logits[ids], kind="stable")]
    others = [Alternative(int(other), float(logits[other]) - log_sum) for other in order]
    return Position(token, float(logits[token]) - log_sum, 0, others)


def score(sequence: Sequence, ids: list[int], begin: int, logits: Logits) -> None:
    """Tell a sequence how likely the ids after positions begin, begin + 1, ... were; logits [positions, ...].

    The first token of a text has nothing before it, so it has no probability.
    """
    plan = sequence.plan
    following = ids[begin + 1 : begin + 1 + len(logits)]
    sums = log_sums(logits)
    places = np.arange(len(following))
    logprobs = logits[places, following].astype(np.float64) - sums[: len(following)]
    positions: list[Position] = []
    if plan.prompt_logprobs:
        first = [Position(ids[0], 0.0, 0)] if begin == 0 else []
        rest = zip(following, logits, sums, strict=False)
        positions = first + [position(token, row, float(total), plan.top) for token, row, total in rest]
    count = len(following) + (begin == 0)
    sequence.score(logprobs, 0, count, positions, unscored=int(begin == 0))


def show(sequence: Sequence, logits: Logits, history: History | None) -> None:
    """Give a sequence the table of what may come after logits [vocabulary]."""
    plan = sequence.plan
    everything = np.arange(logits.size)
    wide = logits.astype(np.float64)
    kept = candidates(everything, wide, plan.sampling, history)
    log_sum = log_sum_of(logits)
    order = np.argsort(-kept.probabilities, kind="stable")[: plan.rows]
    chosen = zip(kept.ids[order].tolist(), kept.probabilities[order].tolist(), strict=True)
    rows = [TableRow(token, probability, float(wide[token]) - log_sum, 0) for token, probability in chosen]
    entropy = float(kept.probabilities @ -np.log2(kept.probabilities))
    sequence.show(
        Table(rows, candidates=kept.ids.size, entropy_bits=abs(entropy), context_used=0, context_count=0)
    )
