"""Requests of DiffusionService, pictures included."""

from __future__ import annotations

from collections.abc import Iterable

from pequod.common.v1 import Image
from pequod.diffusion import v1
from services.diffusion.request import read_generate, read_ladder, read_upscale
from tests.fuzz.filling import message_of, sent
from tests.fuzz.pictures import png

REFUSALS = ()
WORDS = (
    *rb"""peeps-diffusion my-style:2""".split(),
    *(b"a person", png()),
)
KINDS = (v1.GenerateRequest, v1.NoiseLadderRequest, v1.UpscaleRequest)
_READERS = dict(zip(KINDS, (read_generate, read_ladder, read_upscale), strict=True))


def run(data: bytes) -> None:
    request = message_of(data, KINDS, WORDS)
    if request is not None:
        _READERS[type(request)](request)


def seeds() -> Iterable[bytes]:
    image = Image(data=png())
    adapters = [v1.AdapterScale(adapter="my-style", scale=0.5)]
    for request in (
        v1.GenerateRequest(
            prompt="a", negative_prompt="b", steps=3, n=2, best_of=3, guidance_scale=4, seed=1
        ),
        v1.GenerateRequest(prompt="a", init_image=image, mask=image, strength=0.5, upscale_factor=2),
        v1.GenerateRequest(prompt="a", adapters=adapters, scheduler=v1.SCHEDULER_DDIM, eta=1),
        v1.NoiseLadderRequest(image=image, prompt="a", rungs=4, levels=[1, 5]),
        v1.UpscaleRequest(image=image, factor=4),
    ):
        yield sent(request, KINDS)
