"""Pictures of a subject: read with their captions, what cannot be used left out, some kept to measure on."""

from __future__ import annotations

import json

import pytest
import torch
from PIL import Image

from services.finetune.recipes.choices.dreambooth import PRESETS, Options
from services.finetune.recipes.personal.photos import Subject, fitted, mirrored, read_folder
from services.finetune.recipes.personal.wording import Wording
from services.finetune.recipes.watching import Alone
from tests.unit.recipes.tiny_unet import drawn


def test_captions_join_the_instance_prompt(tmp_path):
    captioned = drawn(tmp_path / "captioned/deep", 3)
    (captioned / "00.txt").write_text("on a blue ground\n")
    (captioned / "01.txt").write_text("a hat on sks person")
    lines = [{"file": "02.png", "caption": "one"}, {"file_name": "02.png", "text": "two"}, {"file": "02.png"}]
    (captioned / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    photos = read_folder(tmp_path / "captioned", Alone().logged)
    wording = Wording.of(Options())
    assert [[wording.caption(each) for each in photo.captions] for photo in photos] == [
        ["sks person, on a blue ground"],
        ["a hat on sks person"],
        ["sks person, one", "sks person, two"],
    ]


def test_what_cannot_be_used_is_left_out_with_a_word(tmp_path, capsys):
    folder = drawn(tmp_path / "mixed", 2)
    (folder / "notes.png").write_text("no picture")
    (folder / "cut.png").write_bytes((folder / "00.png").read_bytes()[:60])
    Image.new("RGB", (3, 3)).save(folder / "small.png")
    assert [each.name for each in read_folder(folder, Alone().logged)] == ["00.png", "01.png"]
    said = capsys.readouterr().err
    assert "notes.png: is no PNG, JPEG, WEBP" in said
    assert "cut.png: cannot be read to its end" in said
    assert "small.png is 3 x 3 pixels, at least 16 a side" in said


def test_other_pictures_are_measured_on_where_they_are_given(tmp_path):
    photos = read_folder(drawn(tmp_path / "mine", 6), Alone().logged)
    others = read_folder(drawn(tmp_path / "others", 2), Alone().logged)
    given = Subject.of(photos, others)
    assert (len(given.learnt), [each.name for each in given.held_out]) == (6, ["00.png", "01.png"])
    alone = Subject.of(photos)
    assert (len(alone.learnt), [each.name for each in alone.held_out]) == (5, ["05.png"])
    assert len({given.digest, alone.digest, Subject.of(photos[:4]).digest}) == 3


def test_pictures_of_any_size_become_the_middle_square(tmp_path):
    wide = Image.new("RGB", (60, 30), (255, 0, 0))
    wide.paste((0, 0, 255), (15, 0, 45, 30))
    tall = wide.rotate(90, expand=True)
    for number, picture in enumerate((wide, tall, wide.resize((20, 10)).resize((60, 30)))):
        picture.save(tmp_path / f"{number}.png")
    blue = torch.tensor([-1.0, -1.0, 1.0])[None, :, None, None]
    squares = fitted(read_folder(tmp_path, Alone().logged)[:2], 8)
    torch.testing.assert_close(squares, blue.expand(2, 3, 8, 8))
    larger = fitted(read_folder(tmp_path, Alone().logged)[:1], 64)
    assert larger.shape == (1, 3, 64, 64)


def test_some_pictures_are_mirrored():
    clean = torch.arange(12.0).reshape(2, 1, 2, 3)
    turned = mirrored(clean, 0.5, [0.4, 0.6])
    torch.testing.assert_close(turned[0], clean[0].flip(-1))
    torch.testing.assert_close(turned[1], clean[1])


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_of_their_own_words(name):
    wording = Wording.of(PRESETS[name])
    assert wording.instance == f"sks {name}"
    assert wording.of_class()[0] == name
    assert len(wording.of_subject()) == 6
