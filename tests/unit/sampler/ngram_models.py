"""Small n-gram models for tests, built in memory."""

from pathlib import Path

import numpy as np

from services.sampler.families.infinigram import Infinigram
from services.sampler.families.ngram import Ngram
from services.sampler.ngrams.alphabet import Characters
from services.sampler.ngrams.chain import NgramOptions, Smoothing
from services.sampler.ngrams.suffix_array import SuffixArray, build, code, unit_width
from services.sampler.ngrams.trie import count_levels
from services.sampler.sequence import Plan, Sequence, Stopping, Task

OPENING = (
    "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money in my purse, "
    "and nothing particular to interest me on shore, I thought I would sail about a little and see the "
    "watery part of the world. It is a way I have of driving off the spleen and regulating the circulation."
)


def characters(*texts: str) -> Characters:
    return Characters("".join(sorted(set("".join(texts)))))


def table(*texts: str, order: int = 3) -> Ngram:
    """A count trie of the texts, each a document of its own."""
    alphabet = characters(*texts)
    return Ngram(alphabet, count_levels([alphabet.encode(text) for text in texts], alphabet.size, order))


def unbounded(*texts: str) -> Infinigram:
    """A suffix array of the texts, each a document of its own."""
    alphabet = characters(*texts)
    width = unit_width(alphabet.size)
    text = code([alphabet.encode(text) for text in texts], alphabet.size)
    return Infinigram(alphabet, SuffixArray(text, build(text, width), width))


def occurrences(sequence: str, *texts: str) -> int:
    """How often ``sequence`` stands in the texts, overlapping ones included."""
    return sum(text[i : i + len(sequence)] == sequence for text in texts for i in range(len(text)))


def distribution(model, context: str, order: int, smoothing=Smoothing.BACKOFF) -> dict[str, float]:
    """Probability of each character that may follow ``context``."""
    chain = model.chain(NgramOptions(order, smoothing))
    following = chain.following(chain.start(model.alphabet.encode(context)))
    assert np.isclose(following.probabilities.sum(), 1.0, atol=1e-12)
    assert (following.probabilities > 0).all()
    names = model.alphabet.feed(following.symbols.tolist())
    return dict(zip(names, following.probabilities.tolist(), strict=True))


def sequence(
    model, prompt: str = "", *, max_tokens: int = 20, index: int = 0, order=None, **plan
) -> Sequence:
    """A sequence that generates from ``prompt``; ``plan`` holds further fields of Plan and Stopping."""
    stopping = {name: plan.pop(name) for name in ("min_tokens", "stop", "stop_ids") if name in plan}
    smoothing = plan.pop("smoothing", Smoothing.BACKOFF)
    fields = {
        "task": Task.GENERATE,
        "prompt": model.alphabet.encode(prompt),
        "ngram": NgramOptions(order or model.order, smoothing),
        "stopping": Stopping(max_tokens=max_tokens, **stopping),
        "seed": 7,
    }
    return Sequence(Plan(**{**fields, **plan}), index, model.alphabet)


def run(engine, *sequences: Sequence):
    """Step until all have finished; the whole output of each."""
    unfinished, wholes = list(sequences), dict.fromkeys(sequences)
    while unfinished:
        for s, output in zip(unfinished, engine.step(unfinished), strict=True):
            if wholes[s] is None:
                wholes[s] = output
            else:
                wholes[s].add(output)
        unfinished = [s for s in unfinished if s.finish is None]
    return [wholes[s] for s in sequences]


def no_derived_data(name, build) -> Path:
    raise AssertionError(f"{name} was derived")
