"""Bad requests for images through the gateway: a status naming the field; others in the batch go on."""

from __future__ import annotations

import io
import math
import struct
import threading
import time
import zlib

import grpc
import pytest
from PIL import Image

from pequod.diffusion import v1
from tests.e2e.diffusion_parts import Told, drawn, half_mask, picture, publish_adapter, told
from tests.e2e.refusals import UNLIMITED, refused, refused_bytes, violated

SERVICE = "pequod.diffusion.v1.DiffusionService"
INVALID = grpc.StatusCode.INVALID_ARGUMENT
LONG = "red hair, " * 60


@pytest.fixture(scope="module")
def channel(platform):
    with grpc.insecure_channel(platform.grpc, options=UNLIMITED) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return v1.DiffusionServiceStub(channel)


class Painter:
    """A caller in a thread that has one long request after the other at work."""

    STEPS = 200

    def __init__(self, stub: v1.DiffusionServiceStub):
        self.made: list[Told] = []
        self.steps = 0
        self.errors: list[grpc.RpcError] = []
        self._stub = stub
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._paint)

    def _paint(self):
        while not self._stop.is_set():
            replies = []
            try:
                for reply in self._stub.Generate(
                    request(steps=self.STEPS, seed=1, guidance_scale=1), timeout=100
                ):
                    replies.append(reply)
                    self.steps += reply.HasField("step")
            except grpc.RpcError as error:
                self.errors.append(error)
                return
            self.made.append(told(replies))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        """The last request comes to its end."""
        self._stop.set()
        self._thread.join(100)

    def wait_for_a_step(self):
        """One that begins from now on, not one that had begun."""
        seen = self.steps
        deadline = time.monotonic() + 60
        while self.steps < seen + 2:
            assert not self.errors
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture(scope="module")
def painter(stub):
    with Painter(stub) as painter:
        yield painter
    assert not painter.errors
    assert painter.made
    assert {len(each.steps) for each in painter.made} == {Painter.STEPS}
    assert len({each.data[0] for each in painter.made}) == 1


@pytest.fixture(autouse=True)
def _another_in_the_same_calls_goes_on(painter):
    painter.wait_for_a_step()
    yield
    painter.wait_for_a_step()


def named_by(value: object) -> str:
    """An id of a test; what is too long for one is cut."""
    return str(value)[:40]


def request(**fields):
    return v1.GenerateRequest(**{"prompt": "a person", "steps": 2, **fields})


def generate(stub):
    """Reads the stream to its end."""
    return lambda message, timeout: list(stub.Generate(message, timeout=timeout))


def named(error, field, *parts):
    """The error is the caller's, names ``field``, and says each of ``parts``."""
    assert error.code() is INVALID, error
    assert violated(error) == field
    assert error.details().startswith(f"{field}: ")
    for part in parts:
        assert part in error.details()


def bomb() -> bytes:
    """A PNG of 20,000 x 20,000 pixels in few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(20_000 * 3 + 1) * 16)
    signature = b"\x89PNG\r\n\x1a\n"
    return signature + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"scheduler": 99}, "scheduler", ("99", "pequod.diffusion.v1.Scheduler")),
        ({"scheduler": v1.SCHEDULER_FLOW_EULER}, "scheduler", ("flow_euler", "dpmpp_2m")),
        ({"rng": 9}, "rng", ("9",)),
        ({"output_format": 9}, "output_format", ("9",)),
        ({"overflow": 9}, "overflow", ("9",)),
        ({"steps": 0}, "steps", ("1..1000", "got 0")),
        ({"steps": 10_000}, "steps", ("1..1000", "got 10000")),
        ({"width": 33}, "width", ("32", "got 33")),
        ({"height": 2**31}, "height", ("32", "got 2147483648")),
        ({"guidance_scale": math.nan}, "guidance_scale", ("0..50", "nan")),
        ({"guidance_scale": math.inf}, "guidance_scale", ("inf",)),
        ({"guidance_scale": 50.5}, "guidance_scale", ("50.5",)),
        ({"guidance_start": 0.8, "guidance_end": 0.2}, "guidance_end", ("0.8..1", "0.2")),
        ({"guidance_rescale": 2}, "guidance_rescale", ("0..1",)),
        ({"prompt": "a" * (16 * 2**10 + 1)}, "prompt", ("16385", "16384")),
        ({"negative_prompt": "a" * (16 * 2**10 + 1)}, "negative_prompt", ("16385",)),
        ({"prompt": LONG, "overflow": v1.PROMPT_OVERFLOW_REFUSE}, "prompt", ("cut off", "red hair")),
        ({"prompt_2": "a"}, "prompt_2", ("one text encoder",)),
        ({"n": 17}, "n", ("1..16", "17")),
        ({"n": 4, "best_of": 3}, "best_of", ("4..64", "3")),
        ({"best_of": 65}, "best_of", ("1..64", "65")),
        ({"eta": 0.5, "scheduler": v1.SCHEDULER_EULER}, "eta", ("ddim", "euler")),
        ({"eta": math.nan, "scheduler": v1.SCHEDULER_DDIM}, "eta", ("nan",)),
        ({"upscale_factor": 3}, "upscale_factor", ("1, 2, 4", "3")),
        ({"strength": 0.5}, "strength", ("init_image",)),
        ({"mask": picture(half_mask())}, "mask", ("init_image",)),
        ({"adapters": [v1.AdapterScale()]}, "adapters[0].adapter", ("empty",)),
        ({"adapters": [v1.AdapterScale(adapter="a", scale=9)]}, "adapters[0].scale", ("-4..4", "9")),
        ({"adapters": [v1.AdapterScale(adapter="a")] * 9}, "adapters", ("9", "8")),
        ({"model": "peeps-upscaler"}, "model", ("peeps-upscaler:1", "upscaler")),
        ({"upscale_factor": 2, "upscaler": "peeps-diffusion"}, "upscaler", ("peeps-diffusion:1",)),
        ({"adapters": [v1.AdapterScale(adapter="peeps-upscaler")]}, "adapters[0].adapter", ("no adapter",)),
        ({"model": "../etc/passwd"}, "model", ()),
    ],
    ids=named_by,
)
def test_a_bad_field_is_named(stub, fields, field, parts):
    named(refused(generate(stub), request(**fields)), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"init_image": b""}, "init_image", ("no bytes",)),
        ({"init_image": b"hello"}, "init_image", ("is no PNG, JPEG, WEBP",)),
        ({"init_image": bomb()}, "init_image", ("32,000,000 pixels",)),
        ({"init_image": drawn(64, 64, "JPEG")[:-200]}, "init_image", ("cannot be read to its end",)),
        ({"init_image": animated()}, "init_image", ("GIF",)),
        ({"init_image": drawn(32, 32, "JPEG", "CMYK")}, "init_image", ("CMYK", "RGB")),
        ({"mask": half_mask(16, 16)}, "mask", ("16 x 16", "32 x 32")),
        ({"mask": bomb()}, "mask", ("32,000,000 pixels",)),
    ],
    ids=["none", "text", "bomb", "cut", "animated", "cmyk", "mask-size", "mask-bomb"],
)
def test_a_bad_picture_is_named(stub, fields, field, parts):
    pictures = {name: picture(data) for name, data in {"init_image": drawn(), **fields}.items()}
    named(refused(generate(stub), request(**pictures)), field, *parts)


@pytest.mark.parametrize("strength", [0, -1, 1.5, math.nan])
def test_a_bad_strength_is_named(stub, strength):
    message = request(init_image=picture(drawn()), strength=strength)
    named(refused(generate(stub), message), "strength", "above 0 and at most 1")


def test_an_adapter_for_another_model_names_both(platform, stub):
    publish_adapter(platform.folder, "for-others", inputs=96)
    publish_adapter(platform.folder, "for-nobody", layer="blocks.7.attention")
    for name, part in (("for-others", "160 -> 64"), ("for-nobody", "no layer blocks.7.attention")):
        message = request(adapters=[v1.AdapterScale(adapter=name)])
        named(refused(generate(stub), message), "adapters", f"{name}:1", "peeps-diffusion:1", part)


def test_what_a_long_prompt_loses_is_said(stub):
    made = told(stub.Generate(request(prompt=LONG)))
    assert made.queued[0].truncated_prompt.endswith("red hair,")
    assert not made.queued[0].truncated_negative_prompt
    assert len(made.images) == 1


@pytest.mark.parametrize(
    ("fields", "close"),
    [
        ({"model": "peeps-difusion"}, "peeps-diffusion"),
        ({"upscale_factor": 2, "upscaler": "peeps-upscalr"}, "peeps-upscaler"),
        ({"best_of": 2, "ranker": "peeps-clp"}, "peeps-clip"),
    ],
)
def test_an_unknown_model_suggests_the_close_names(stub, fields, close):
    error = refused(generate(stub), request(**fields))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert close in error.details()


def test_a_model_of_another_service_is_refused_with_its_kind(stub):
    error = refused(generate(stub), request(model="storyteller"))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "storyteller:1 is a language_model model" in error.details()


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"image": picture(b"")}, "image", ("no bytes",)),
        ({"image": picture(bomb())}, "image", ("1,048,576 pixels",)),
        ({"image": picture(drawn(1025, 8))}, "image", ("1025 x 8", "1024")),
        ({"image": picture(drawn()), "factor": 3}, "factor", ("2, 4", "3")),
        ({"image": picture(drawn()), "model": "peeps-diffusion"}, "model", ("no upscaler",)),
    ],
    ids=["none", "bomb", "large", "factor", "model"],
)
def test_a_bad_request_for_a_larger_picture_is_named(stub, fields, field, parts):
    named(refused(stub.Upscale, v1.UpscaleRequest(**fields)), field, *parts)


@pytest.mark.parametrize(
    ("fields", "field", "parts"),
    [
        ({"rungs": 1}, "rungs", ("2..64", "1")),
        ({"rungs": 65}, "rungs", ("65",)),
        ({"levels": [0, 1001]}, "levels", ("0..1000", "1001")),
        ({"guidance_scale": math.nan}, "guidance_scale", ("nan",)),
        ({"model": "peeps-upscaler"}, "model", ("no model of images",)),
    ],
    ids=named_by,
)
def test_a_bad_request_for_a_ladder_is_named(stub, fields, field, parts):
    message = v1.NoiseLadderRequest(image=picture(drawn()), **fields)
    named(refused(stub.NoiseLadder, message), field, *parts)


def test_invalid_utf8_is_refused_with_the_field(channel):
    named(refused_bytes(channel, f"{SERVICE}/Upscale", b"\x0a\x02\xc3\x28"), "model")


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ({"prompt": "a", "steps": 10000}, "steps"),
        ({"prompt": "a", "guidanceScale": "NaN"}, "guidance_scale"),
        ({"prompt": "a", "scheduler": "SCHEDULER_MAGIC"}, "scheduler"),
        ({"prompt": "a", "initImage": {"data": "aGVsbG8="}}, "init_image"),
    ],
    ids=["steps", "nan", "enum", "picture"],
)
def test_bad_json_is_refused_with_the_place(platform, body, part):
    status, reply = platform.post(f"{SERVICE}/Generate", body)
    assert status == 400, reply
    assert part in reply["error"]["message"], reply
