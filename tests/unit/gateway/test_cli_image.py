"""What `pequod image` shows and where it writes: half blocks, progress, names of files, adapters."""

from __future__ import annotations

import io

import pytest
import typer
from PIL import Image
from rich.console import Console

from gateway.cli import output
from gateway.cli.image import _adapter
from gateway.cli.painting import Painting
from gateway.cli.pictures import Target, half_blocks, opened, sheet
from pequod.common.v1 import IMAGE_FORMAT_JPEG, IMAGE_FORMAT_PNG
from pequod.common.v1 import Image as Picture
from pequod.diffusion.v1 import Done, GenerateResponse, Queued, Step


def encoded(width: int, height: int, colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "PNG")
    return file.getvalue()


def shown(monkeypatch, replies, is_terminal: bool) -> str:
    """What ``replies`` leave on a console of 80 cells."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=is_terminal, width=80, color_system="truecolor")
    monkeypatch.setattr(output, "error_console", lambda: console)
    with Painting(2) as painting:
        for reply in replies:
            painting.follow(reply)
            painting.refresh()
    return file.getvalue()


def step(index: int, number: int, preview: bytes = b"") -> GenerateResponse:
    made = Step(index=index, step=number, steps=5)
    if preview:
        made.preview.CopyFrom(Picture(data=preview))
    return GenerateResponse(step=made)


def test_two_pixels_share_a_cell():
    picture = opened(encoded(3, 3))
    picture.putpixel((0, 1), (0, 0, 255))
    lines = half_blocks([picture], 80).split("\n")
    assert [line.plain for line in lines] == ["▀▀▀", "▀▀▀"]
    styles = [str(span.style) for span in lines[0].spans]
    assert "#ff0000 on #0000ff" in styles
    assert str(lines[1].spans[0].style) == "#ff0000"  # nothing below the last row


@pytest.mark.parametrize(("width", "pictures"), [(7, 2), (6, 1), (200, 3)])
def test_as_many_pictures_as_there_is_room_for(width, pictures):
    three = [opened(encoded(3, 2))] * 3
    assert half_blocks(three, width).plain == " ".join(["▀▀▀"] * pictures)


def test_large_pictures_are_shown_small():
    lines = half_blocks([opened(encoded(512, 256))], 80).plain.split("\n")
    assert len(lines) == 12
    assert {len(line) for line in lines} == {48}


def test_a_wait_is_told_and_the_bar_counts_all_images(monkeypatch):
    replies = [
        GenerateResponse(queued=Queued(position=2, estimated_wait_ms=1500, estimated_run_ms=400)),
        step(0, 4),
        step(1, 3),
        GenerateResponse(done=Done(images=2)),
    ]
    told = shown(monkeypatch, replies, is_terminal=False)
    assert "waiting, 2 before, 1.5 s, then 0.4 s" in told
    assert "painted" in told
    assert "7/10" in told


def test_previews_stand_above_the_bar(monkeypatch):
    told = shown(monkeypatch, [step(0, 1, encoded(2, 2, "blue"))], is_terminal=True)
    assert "38;2;0;0;255;48;2;0;0;255m▀" in told
    assert "1/10" in told


def test_a_prompts_end_that_is_not_read_is_told_once(monkeypatch):
    cut = GenerateResponse(queued=Queued(truncated_prompt="blue background"))
    told = shown(monkeypatch, [cut, cut], is_terminal=False)
    assert told.count("the prompt is too long for the model, which does not read: 'blue background'") == 1


def test_nothing_is_shown_of_a_request_that_was_refused(monkeypatch):
    assert shown(monkeypatch, [], is_terminal=False) == ""


@pytest.mark.parametrize(
    ("given", "name", "scale"),
    [
        ("style", "style", None),
        ("style:2=0.8", "style:2", 0.8),
        ("style@production=-1", "style@production", -1.0),
        ("file:/data/a=b=2", "file:/data/a=b", 2.0),
    ],
)
def test_an_adapter_is_a_reference_and_a_scale(given, name, scale):
    read = _adapter(given)
    assert read.adapter == name
    assert (read.scale if read.HasField("scale") else None) == scale


@pytest.mark.parametrize("given", ["style=", "=1", "style=much", "style=nan"])
def test_a_scale_that_is_no_number_is_refused(given):
    with pytest.raises(typer.BadParameter, match="NAME=SCALE"):
        _adapter(given)


def test_names_of_files(tmp_path):
    target = Target.of(tmp_path / "a.JPG", 2)
    assert target.format == IMAGE_FORMAT_JPEG
    assert target.write(b"x", 2, 7).name == "a-2.JPG"
    assert Target.of(tmp_path / "{seed}.png").write(b"x", 1, 7).name == "{seed}.png"
    (tmp_path / "b.png").mkdir()
    with pytest.raises(typer.BadParameter, match="is a folder"):
        Target.of(tmp_path / "b.png")


def test_a_sheet_has_a_row_for_each_kind():
    rows = {"noisy": [encoded(32, 32)] * 3, "predicted": [b"", encoded(32, 32, "blue"), b""]}
    drawn = opened(sheet(rows, IMAGE_FORMAT_PNG))
    assert drawn.size == (3 * 100 + 4, 2 * (96 + 14 + 4) + 4)
    assert drawn.getpixel((150, 180)) == (0, 0, 255)
    assert drawn.getpixel((50, 180)) == (255, 255, 255)
