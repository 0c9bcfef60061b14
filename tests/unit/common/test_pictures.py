"""Pictures from callers: what is read how, and what is refused before it costs anything."""

import contextlib
import io
import resource
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from services.common.errors import Code, ServiceError
from services.common.pictures.reading import Limits, open_picture, read_picture

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def file_of(image, kind, **options):
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png_that_claims(width, height):
    """A PNG of a few bytes whose header says how large it is."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(3 * width + 1) * 4)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def animated(kind):
    frames = [Image.fromarray(np.full((20, 30, 3), shade, np.uint8)) for shade in (0, 100, 200)]
    return file_of(frames[0], kind, save_all=True, append_images=frames[1:], duration=100)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_pixels_come_as_they_were_written(kind, options):
    found = read_picture("image", file_of(PIXELS, kind, **options))
    np.testing.assert_array_equal(found, PIXELS)
    assert found.dtype == np.uint8


def test_a_jpeg_comes_near_enough():
    flat = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    found = read_picture("image", file_of(flat, "JPEG", quality=95))
    assert np.abs(found.astype(int) - flat).max() < 4


def test_gray_becomes_rgb():
    gray = PIXELS[:, :, 0]
    np.testing.assert_array_equal(read_picture("image", file_of(gray, "PNG")), np.stack([gray] * 3, 2))


def test_of_16_bits_the_high_ones_count():
    deep = PIXELS[:, :, 0].astype(np.uint16) * 256 + 200
    found = read_picture("image", file_of(deep, "PNG"))
    np.testing.assert_array_equal(found, np.stack([PIXELS[:, :, 0]] * 3, 2))


def test_a_mask_of_16_bits_has_8():
    deep = PIXELS[:, :, 0].astype(np.uint16) * 256
    opened = np.asarray(open_picture("mask", file_of(deep, "PNG")).convert("L"))
    np.testing.assert_array_equal(opened, PIXELS[:, :, 0])


def test_what_is_transparent_becomes_white():
    half = np.dstack([np.zeros((4, 4, 3), np.uint8), np.full((4, 4), 128, np.uint8)])
    half[0, 0, 3] = 0
    found = read_picture("image", file_of(half, "PNG"))
    assert found[0, 0].tolist() == [255, 255, 255]
    assert 125 <= found[1, 1, 0] <= 129


def test_transparency_in_a_palette_becomes_white():
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    found = read_picture("image", file_of(image, "PNG", transparency=1))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]]]


def test_a_colour_declared_transparent_becomes_white():
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    found = read_picture("image", file_of(image, "PNG", transparency=(4, 5, 6)))
    assert found.tolist() == [[[1, 2, 3], [255, 255, 255]]]


def test_a_picture_is_turned_as_its_camera_says():
    notes = Image.Exif()
    notes[0x0112] = 6  # to be turned by 90 degrees clockwise
    found = read_picture("image", file_of(PIXELS, "PNG", exif=notes))
    np.testing.assert_array_equal(found, np.rot90(PIXELS, -1))


def test_a_camera_s_jpeg_with_more_pictures_is_its_first():
    first = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    data = file_of(first, "MPO", save_all=True, append_images=[Image.fromarray(255 - first)])
    assert np.abs(read_picture("image", data).astype(int) - first).max() < 4


@pytest.mark.parametrize("side", [20_000, 10_000])
def test_a_bomb_is_refused_by_its_header(side):
    data = png_that_claims(side, side)
    assert len(data) < 5000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    check(data, "pixels")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kilobytes"


def check(data, said, limits=None):
    with pytest.raises(ServiceError, match=said) as caught:
        read_picture("inputs[3].image", data, limits)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "inputs[3].image"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no bytes"),
        (b"hello", "is no PNG, JPEG, WEBP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "is no PNG, JPEG, WEBP"),
        (bytes(16 * 2**20 + 1), "16 MiB"),
        (file_of(PIXELS, "BMP"), "is no PNG, JPEG, WEBP"),
        (file_of(PIXELS, "TIFF"), "is no PNG, JPEG, WEBP"),
        (file_of(PIXELS, "GIF"), "is GIF; PNG, JPEG, WEBP are read"),
        (animated("GIF"), "is GIF; PNG, JPEG, WEBP are read"),
        (animated("WEBP"), "is animated"),
        (animated("PNG"), "is animated"),
        (file_of(Image.new("CMYK", (8, 8)), "JPEG"), "CMYK"),
        (file_of(PIXELS, "JPEG")[:-300], "cannot be read to its end"),
        (file_of(PIXELS, "PNG")[:-300], "cannot be read to its end"),
        (file_of(PIXELS, "PNG")[:20], "is no|cannot be read"),
        (png_that_claims(9000, 10), "9000 x 10 pixels, at most 8192 a side"),
        (png_that_claims(8000, 8000), "64,000,000 pixels, at most 32,000,000"),
        (png_that_claims(0, 5), "is no|cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_single_picture_is_refused(data, said):
    check(data, said)


def test_limits_may_be_narrower():
    data = file_of(PIXELS, "PNG")
    check(data, "at most 25 a side", Limits(side=25))
    check(data, "at most 500", Limits(pixels=500))


def test_broken_files_are_refused_and_nothing_else_happens():
    notes = Image.Exif()
    notes[0x0112] = 6
    whole = [
        file_of(PIXELS, "PNG", exif=notes),
        file_of(PIXELS, "JPEG", exif=notes),
        file_of(PIXELS, "WEBP", exif=notes),
    ]
    chance = np.random.default_rng(1)
    for number in range(1500):
        data = bytearray(whole[number % 3])
        for place in chance.integers(0, min(len(data), 400), 2):
            data[place] = chance.integers(0, 256)
        # Pillow tells in warnings, errors in tests, of oddities that it can live with.
        with contextlib.suppress(ServiceError, UserWarning):
            assert read_picture("image", bytes(data)).shape[2] == 3
