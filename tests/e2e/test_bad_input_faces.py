"""Bad requests for faces through the gateway: a status naming the field; others in the batch go on."""

from __future__ import annotations

import io
import math
import threading

import grpc
import numpy as np
import pytest
from PIL import Image

from pequod.common.v1 import Image as Picture
from pequod.gan import v1
from tests.e2e.diffusion_parts import drawn, picture
from tests.e2e.gan_parts import GAN, publish
from tests.e2e.refusals import UNLIMITED, refused, refused_bytes, violated
from tests.e2e.test_bad_input_images import animated, bomb, named_by

SERVICE = "pequod.gan.v1.GanService"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
LAYERS, WIDTH = 5, 8
"""Of the tiny model's codes."""

pytestmark = pytest.mark.timeout(900)  # the models are exported first


@pytest.fixture(scope="module")
def channel(platform, tmp_path_factory):
    publish(platform, tmp_path_factory)
    with grpc.insecure_channel(platform.grpc, options=UNLIMITED) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return v1.GanServiceStub(channel)


@pytest.fixture(scope="module", autouse=True)
def _others_go_on(stub):
    """A caller in a thread whose faces share the calls, and stay the same."""
    stop, made, errors = threading.Event(), [], []

    def draw():
        while not stop.is_set():
            try:
                reply = stub.Sample(v1.SampleRequest(model=GAN, seeds=[1, 2]), timeout=60)
                made.append([each.image.data for each in reply.images])
            except grpc.RpcError as error:
                errors.append(error)
                return

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not errors
    assert len(made) > 10
    assert all(each == made[0] for each in made)


def options(**fields):
    return v1.SynthesisOptions(**fields)


def seed(value=1):
    return v1.Origin(seed=value)


def code(layers=LAYERS, width=WIDTH, value=0.1, count=None):
    values = [value] * (layers * width if count is None else count)
    return v1.Origin(code=v1.LatentCode(values=values, layers=layers, dimensions=width))


def named(error, field, *parts):
    """The error is the caller's, names ``field``, and says each of ``parts``."""
    assert error.code() is INVALID, error
    assert violated(error) == field
    for part in parts:
        assert part in error.details(), error.details()


def streamed(call):
    """Reads a stream to its end."""
    return lambda message, timeout: list(call(message, timeout=timeout))


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"seeds": []}, "seeds", ("either seeds or n",)),
        ({"seeds": range(100_000)}, "seeds", ("100000", "256")),
        ({"n": 257}, "n", ("0..256", "257")),
        ({"n": 2**32 - 1}, "n", ("4294967295",)),
        ({"seeds": [1], "n": 1}, "n", ("not together",)),
        ({"n": 1, "layout": 9}, "layout", ("9", "pequod.gan.v1.Layout")),
        ({"n": 1, "options": options(truncation_psi=math.nan)}, "options.truncation_psi", ("-2..2", "nan")),
        ({"n": 1, "options": options(truncation_psi=math.inf)}, "options.truncation_psi", ("inf",)),
        ({"n": 1, "options": options(truncation_psi=2.1)}, "options.truncation_psi", ("2.1",)),
        ({"n": 1, "options": options(truncation_cutoff=6)}, "options.truncation_cutoff", ("0..5", "6")),
        ({"n": 1, "options": options(noise_strength=math.nan)}, "options.noise_strength", ("0..1", "nan")),
        ({"n": 1, "options": options(noise_strength=-0.1)}, "options.noise_strength", ("-0.1",)),
        ({"n": 1, "options": options(upscale_factor=3)}, "options.upscale_factor", ("1, 2, 4", "3")),
        ({"n": 1, "options": options(output_format=9)}, "options.output_format", ("9",)),
        (
            {"n": 1, "options": options(attributes={"hat": "cap"})},
            "options.attributes",
            ("'hat'", "glasses, style"),
        ),
        (
            {"n": 1, "options": options(attributes={"glasses": "square"})},
            "options.attributes[glasses]",
            ("'square'", "glasses, none, round glasses"),
        ),
        (
            {"n": 1, "options": options(attributes={str(each): "a" for each in range(65)})},
            "options.attributes",
            ("65", "64"),
        ),
        ({"n": 1, "model": "../etc/passwd"}, "model", ()),
    ],
    ids=named_by,
)
def test_a_bad_sample_is_named(stub, fields, field, parts):
    named(refused(stub.Sample, v1.SampleRequest(**{"model": GAN, **fields})), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"stops": []}, "stops", ("0 entries", "2..64")),
        ({"stops": [seed()]}, "stops", ("1 entries",)),
        ({"stops": [seed()] * 65}, "stops", ("65", "64")),
        ({"stops": [seed(), v1.Origin()]}, "stops[1]", ("a seed or a code",)),
        ({"frames": 1}, "frames", ("2..600", "1")),
        ({"frames": 601}, "frames", ("601",)),
        ({"frames_per_second": 61}, "frames_per_second", ("1..60", "61")),
        ({"space": 9}, "space", ("9",)),
        ({"interpolation": 9}, "interpolation", ("9",)),
        ({"animation": 9}, "animation", ("9",)),
        ({"stops": [seed(), code()], "space": v1.LATENT_SPACE_Z}, "stops[1]", ("LATENT_SPACE_W",)),
        ({"stops": [seed(), code(layers=4)]}, "stops[1].code", ("4 layers of 8", "5 of 8")),
        ({"stops": [seed(), code(width=9)]}, "stops[1].code", ("5 layers of 9",)),
        ({"stops": [seed(), code(count=39)]}, "stops[1].code", ("39 values", "5 x 8")),
        ({"stops": [seed(), code(value=math.nan)]}, "stops[1].code", ("finite",)),
        ({"stops": [seed(), code(value=math.inf)]}, "stops[1].code", ("finite",)),
        ({"stops": [seed(), code(value=1e30)]}, "stops[1].code", ("-1000..1000",)),
        ({"stops": [code(layers=0)] * 2}, "stops[0].code", ("0 layers",)),
        ({"stops": [code(layers=2**31, width=2**31, count=1)] * 2}, "stops[0].code", ("65536",)),
    ],
    ids=named_by,
)
def test_a_bad_walk_is_named(stub, fields, field, parts):
    message = v1.InterpolateRequest(**{"model": GAN, "stops": [seed(1), seed(2)], "frames": 3, **fields})
    named(refused(streamed(stub.Interpolate), message), field, *parts)


def donor(*layers, origin=None):
    return v1.StyleDonor(origin=seed(2) if origin is None else origin, layers=layers)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"base": None}, "base", ("a seed or a code",)),
        ({"donors": []}, "donors", ("0 entries", "1..16")),
        ({"donors": [donor(0)] * 17}, "donors", ("17",)),
        ({"donors": [donor()]}, "donors[0].layers", ("0 entries", "1..")),
        ({"donors": [donor(0, 5)]}, "donors[0].layers", ("0..4", "5")),
        ({"donors": [donor(0), donor(2**32 - 1)]}, "donors[1].layers", ("0..4", "4294967295")),
        ({"donors": [donor(0, 1), donor(2, 1)]}, "donors[1].layers", ("layer 1", "donors[0]")),
        ({"donors": [donor(3, 3)]}, "donors[0].layers", ("layer 3",)),
        ({"donors": [donor(1, origin=v1.Origin())]}, "donors[0].origin", ("required",)),
        ({"donors": [donor(1, origin=code(width=7))]}, "donors[0].origin.code", ("5 layers of 7",)),
    ],
    ids=named_by,
)
def test_a_bad_mix_is_named(stub, fields, field, parts):
    message = v1.MixRequest(**{"model": GAN, "base": seed(), "donors": [donor(0)], **fields})
    named(refused(stub.Mix, message), field, *parts)


def wide() -> bytes:
    """9000 pixels wide."""
    file = io.BytesIO()
    Image.fromarray(np.zeros((1, 9000, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = [
    pytest.param(b"", "no bytes", id="none"),
    pytest.param(b"hello", "is no PNG, JPEG, WEBP", id="text"),
    pytest.param(bomb(), "32,000,000 pixels", id="bomb"),
    pytest.param(wide(), "at most 8192 a side", id="wide"),
    pytest.param(b"\x89PNG\r\n\x1a\n" + bytes(16 * 2**20), "16 MiB", id="bytes"),
    pytest.param(animated(), "GIF", id="animated"),
    pytest.param(drawn(64, 64, "JPEG")[:-200], "cannot be read to its end", id="cut"),
]


@pytest.mark.parametrize(("data", "part"), PICTURES)
def test_a_bad_picture_is_named(stub, data, part):
    image = picture(data)
    projection = v1.ProjectRequest(model=GAN, image=image, steps=1)
    named(refused(streamed(stub.Project), projection), "image", part)
    named(refused(stub.Nearest, v1.NearestRequest(model=GAN, image=image)), "image", part)
    scored = v1.ScoreRequest(model=GAN, images=[picture(drawn()), image])
    named(refused(stub.Score, scored), "images[1]", part)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"image": None}, "image", ("no bytes",)),
        ({"steps": 1001}, "steps", ("0..1000", "1001")),
        ({"learning_rate": 0}, "learning_rate", ("above 0 and at most 1",)),
        ({"learning_rate": math.nan}, "learning_rate", ("nan",)),
        ({"regularization": -1}, "regularization", ("0..10", "-1")),
        ({"regularization": math.inf}, "regularization", ("inf",)),
        ({"start": 9}, "start", ("9",)),
        ({"options": options(noise_strength=2)}, "options.noise_strength", ("0..1", "2")),
    ],
    ids=named_by,
)
def test_a_bad_projection_is_named(stub, fields, field, parts):
    message = v1.ProjectRequest(**{"model": GAN, "image": picture(drawn()), "steps": 1, **fields})
    named(refused(streamed(stub.Project), message), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"edits": []}, "edits", ("0 entries", "1..32")),
        ({"edits": [("none", 1.0)] * 33}, "edits", ("33",)),
        ({"edits": [("none", 11.0)]}, "edits[0].amount", ("-10..10", "11")),
        ({"edits": [("none", 1.0), ("none", math.nan)]}, "edits[1].amount", ("nan",)),
        ({"edits": [("smile", 1.0)]}, "edits[0].direction", ("'smile'", "glasses:none", "style:pixel-art")),
        ({"origin": None}, "origin", ("required",)),
        ({"origin": code(width=7)}, "origin.code", ("5 layers of 7",)),
    ],
    ids=named_by,
)
def test_a_bad_edit_is_named(stub, fields, field, parts):
    chosen = {"origin": seed(), "edits": [("none", 1.0)], **fields}
    edits = [v1.AttributeEdit(direction=name, amount=amount) for name, amount in chosen["edits"]]
    message = v1.EditRequest(model=GAN, origin=chosen["origin"], edits=edits)
    named(refused(stub.Edit, message), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"images": []}, "images", ("0 entries", "1..256")),
        ({"images": [picture(drawn())] * 257}, "images", ("257",)),
        ({"images": [Picture()]}, "images[0]", ("no bytes",)),
        ({"attributes": {"hat": "cap"}}, "attributes", ("'hat'", "glasses, style")),
    ],
    ids=named_by,
)
def test_a_bad_score_is_named(stub, fields, field, parts):
    message = v1.ScoreRequest(**{"model": GAN, "images": [picture(drawn())], **fields})
    named(refused(stub.Score, message), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({}, "query", ("an image or an origin",)),
        ({"origin": seed(), "limit": 65}, "limit", ("1..64", "65")),
        ({"origin": code(layers=1)}, "origin.code", ("1 layers of 8",)),
    ],
    ids=named_by,
)
def test_a_bad_search_is_named(stub, fields, field, parts):
    named(refused(stub.Nearest, v1.NearestRequest(model=GAN, **fields)), field, *parts)


def test_an_unknown_model_suggests_the_close_names(stub):
    error = refused(stub.Sample, v1.SampleRequest(model="tiny-gn", n=1))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert GAN in error.details()
    upscaled = options(upscale_factor=2, upscaler="peeps-upscalr")
    error = refused(stub.Sample, v1.SampleRequest(model=GAN, n=1, options=upscaled))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "peeps-upscaler" in error.details()


def test_invalid_utf8_is_refused_with_the_field(channel):
    error = refused_bytes(channel, f"{SERVICE}/Sample", b"\x0a\x02\xc3\x28")
    named(error, "model")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"n": 1, "options": {"truncationPsi": "NaN"}}, "options.truncation_psi"),
        ({"n": 1, "layout": "LAYOUT_PILE"}, "layout"),
        ({}, "seeds"),
        ({"seeds": ["-1"]}, "seeds"),
    ],
    ids=["nan", "enum", "nothing", "negative"],
)
def test_bad_json_is_refused_with_the_place(platform, stub, body, part):
    status, reply = platform.post(f"{SERVICE}/Sample", {"model": GAN, **body})
    assert status == 400, reply
    assert part in reply["error"]["message"], reply
