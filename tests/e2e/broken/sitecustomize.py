"""A bug for tests: with this on the path the sampler draws no seeds; calls without one end in INTERNAL."""

import secrets
import sys

_whole = secrets.randbits


def _broken(bits: int) -> int:
    if sys._getframe(1).f_globals["__name__"] == "services.sampler.request":
        raise RuntimeError("no dice")
    return _whole(bits)


secrets.randbits = _broken
