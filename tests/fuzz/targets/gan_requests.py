"""Requests of GanService, pictures included."""

from __future__ import annotations

from collections.abc import Iterable

from pequod.common.v1 import Image
from pequod.gan import v1
from services.gan import requests
from services.gan.fields import read_images
from services.gan.requests import usual
from tests.fuzz.filling import message_of, sent
from tests.fuzz.pictures import png

REFUSALS = ()
WORDS = (
    *rb"""
        peeps-gan glasses round smiling
    """.split(),
    *(png(),),
)
KINDS = (
    *(v1.SampleRequest, v1.InterpolateRequest, v1.MixRequest, v1.ScoreRequest),
    *(v1.ProjectRequest, v1.EditRequest, v1.NearestRequest),
)


def run(data: bytes) -> None:
    request = message_of(data, KINDS, WORDS)
    if request is not None:
        usual()
        _READERS[type(request)](request)


def _scored(request) -> None:
    requests.read_score(request)
    read_images("images", request.images, 32)


_READERS = dict(
    zip(
        KINDS,
        (
            *(requests.read_sample, requests.read_walk, requests.read_mix, _scored),
            *(requests.read_project, requests.read_edit, requests.read_nearest),
        ),
        strict=True,
    )
)


def seeds() -> Iterable[bytes]:
    image = Image(data=png())
    seed, code = v1.Origin(seed=7), v1.Origin(code=v1.LatentCode(layers=1, dimensions=2, values=[0.5, 1]))
    options = v1.SynthesisOptions(truncation_psi=0.7, attributes={"glasses": "round"}, upscale_factor=2)
    for request in (
        v1.SampleRequest(seeds=[1, 2], options=options, layout=v1.LAYOUT_GRID),
        v1.InterpolateRequest(stops=[seed, code], frames=5, animation=v1.ANIMATION_FORMAT_GIF),
        v1.MixRequest(base=seed, donors=[v1.StyleDonor(origin=code, layers=[0, 1])]),
        v1.ScoreRequest(images=[image], attributes={"glasses": "round"}),
        v1.ProjectRequest(image=image, steps=3, learning_rate=0.1, regularization=1),
        v1.EditRequest(origin=seed, edits=[v1.AttributeEdit(direction="smiling", amount=2)]),
        v1.NearestRequest(image=image, limit=3),
    ):
        yield sent(request, KINDS)
