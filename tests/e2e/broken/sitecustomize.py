"""Bugs for tests: with this on the path calls of the sampler without a seed end in INTERNAL, n-grams fail.

A job of the recipe ngram ends with what PEQUOD_TEST_SAID says: one of order 2 as by a bug, others as refused.
"""

import os
import secrets
import sys
import time

_whole = secrets.randbits
_clock = time.perf_counter


def _broken(bits: int) -> int:
    if sys._getframe(1).f_globals["__name__"] == "services.sampler.request":
        raise RuntimeError("no dice")
    return _whole(bits)


def _stopped() -> float:
    caller = sys._getframe(1)
    if caller.f_globals.get("__name__") == "services.finetune.recipes.ngram":
        kind = RuntimeError if caller.f_locals["order"] == 2 else ValueError
        raise kind(os.environ["PEQUOD_TEST_SAID"])
    return _clock()


secrets.randbits = _broken
time.perf_counter = _stopped
