"""A request to a language model, with what a test cares for."""

from __future__ import annotations

from pequod.sampler import v1


def generate(**fields) -> v1.GenerateRequest:
    return v1.GenerateRequest(**({"prompt": "Call me Ishmael."} | fields))
