"""Pictures as they come back: they must decode, have their size, and be the same for the same seed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Hashable

from PIL import Image, UnidentifiedImageError

from tests.load.calls.known import Known
from tests.load.core.judging import WrongPayload


def check_picture(data: bytes, size: int, question: Hashable, known: Known) -> None:
    """A PNG of ``size`` x ``size`` pixels. Raises WrongPayload for any other, or other pixels than before."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
            pixels = picture.convert("RGB").tobytes()
            found = (picture.format, *picture.size)
    except (UnidentifiedImageError, OSError) as error:
        raise WrongPayload(f"{len(data)} bytes that are no picture: {error}") from error
    if found != ("PNG", size, size):
        raise WrongPayload(f"a picture {found}, a PNG of {size} x {size} is due")
    known.same(question, hashlib.sha256(pixels).hexdigest())
