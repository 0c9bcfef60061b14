"""Forms with pictures: what is read of them, and what is refused."""

import io

import numpy as np
import pytest
from PIL import Image

from gateway.openai.images import white_where_open
from services.common.errors import ServiceError
from tests.unit.gateway.openai_parts import error_of

EDITS = "/v1/images/edits"


def png(picture):
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_mask_is_white_where_it_was_transparent():
    mask = Image.new("RGBA", (4, 2), (9, 9, 9, 255))
    mask.putpixel((1, 0), (9, 9, 9, 0))
    mask.putpixel((2, 1), (9, 9, 9, 127))
    found = np.asarray(Image.open(io.BytesIO(white_where_open(png(mask)))))
    assert found.tolist() == [[0, 255, 0, 0], [0, 0, 255, 0]]


def test_a_mask_without_transparency_stays():
    data = png(Image.new("L", (4, 2), 255))
    assert white_where_open(data) is data


def test_a_mask_that_is_no_picture_is_refused():
    with pytest.raises(ServiceError, match="mask"):
        white_where_open(b"no picture")


@pytest.mark.parametrize(
    ("files", "data", "param", "said"),
    [
        ({}, {"model": "m", "prompt": "a"}, "image", "is required"),
        ({"image": b"a"}, {"prompt": "a"}, "model", "is required"),
        ({"image": b"a"}, {"model": "m", "prompt": "a", "n": "many"}, "n", "valid integer"),
        ({"image": b"a"}, {"model": "m", "prompt": "a", "n": "17"}, "n", "less than or equal to 16"),
        ({"image": b"a", "mask": b"b"}, {"model": "m", "prompt": "a"}, "mask", "neither"),
    ],
)
async def test_a_bad_field_of_a_form_is_named(files, data, param, said, door, backend):
    uploads = [(name, (f"{name}.png", content)) for name, content in files.items()]
    reply = await door.http.post(EDITS, data=data, files=uploads or {"none": b""})
    error = reply.json()["error"]
    assert (reply.status_code, error["code"]) == (400, "INVALID_FIELD"), error
    assert error["param"] == param, error
    assert not backend.seen


async def test_two_pictures_are_one_too_many(door):
    uploads = [("image[]", ("a.png", b"a")), ("image[]", ("b.png", b"b"))]
    reply = await door.http.post(EDITS, data={"model": "m", "prompt": "a"}, files=uploads)
    assert "holds 2 pictures" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", b"--x\r\n"),
        ("multipart/form-data; boundary=x", b"nothing of the kind"),
        ("multipart/form-data; boundary=x", b'--x\r\ncontent-disposition: form-data; name="a"\r\n\r\nb'),
    ],
)
async def test_what_is_no_form(content_type, content, door):
    reply = await door.http.post(EDITS, content=content, headers={"content-type": content_type})
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "INVALID_FIELD")


async def test_an_edit_without_a_form_lacks_its_picture(door):
    assert (await error_of(door, EDITS, {"model": "m", "prompt": "a"}))[2] == "image"
