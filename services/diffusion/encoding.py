"""Pictures into replies; it takes a while, so not on the event loop."""

from __future__ import annotations

from pequod.common.v1 import Image
from pequod.diffusion import v1
from services.common.pictures.writing import Format
from services.diffusion import replies
from services.diffusion.engine import Model, Pixels, Upscaler
from services.diffusion.ladder import Ladder
from services.diffusion.schedulers.levels import Array


def preview(model: Model, seen: Array, kind: Format) -> Image:
    """What the network sees on the way."""
    return replies.image(model.decode(seen), kind)


def enlarge(upscaler: Upscaler, picture: Pixels, factor: int, kind: Format) -> Image:
    """A larger picture."""
    return replies.image(upscaler.enlarge(picture, factor), kind)


def rungs(model: Model, ladder: Ladder, made: list[Array], kind: Format) -> list[v1.Rung]:
    """Encode a ladder's pictures."""
    answers = iter(made)
    encoded = []
    for each in ladder.rungs:
        noisy = replies.image(model.decode(each.noisy), kind)
        if each.level == 0:
            encoded.append(replies.rung(each, noisy, None, None))
            continue
        answer = next(answers)
        predicted, back = answer[: len(each.noisy)], answer[len(each.noisy) :]
        shown = (replies.image(model.decode(part), kind) for part in (back, predicted))
        encoded.append(replies.rung(each, noisy, *shown))
    return encoded
