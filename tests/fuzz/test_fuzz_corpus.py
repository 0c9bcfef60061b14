"""Every kept input, and every input to begin from, through its target: none is more than refused."""

from __future__ import annotations

import pytest

from tests.fuzz import kept
from tests.fuzz.known import names, target, tried

pytestmark = pytest.mark.filterwarnings(
    "ignore:Corrupt EXIF data",
    "ignore:Truncated File Read",
    "ignore:Invalid APNG",
    "ignore:Tag data larger than file",
)
"""What Pillow says on the way to a refusal."""


@pytest.mark.parametrize("name", names())
def test_what_is_kept_is_read_or_refused(name):
    found = target(name)
    seeds = list(found.seeds())
    read = [tried(found, data) for data in (*seeds, *kept.inputs(name))]
    assert seeds
    assert any(read) or name in _REFUSE_ALL


_REFUSE_ALL = {"openai_bodies"}
"""Targets that end with a refusal where they would call a service."""


@pytest.mark.parametrize("name", names())
def test_any_bytes_are_read_or_refused(name):
    found = target(name)
    for data in (b"", b"\0", b"\xff" * 9, b"[" * 5000, b"{}", bytes(range(256))):
        tried(found, data)
