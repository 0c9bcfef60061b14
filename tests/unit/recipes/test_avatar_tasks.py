"""Recipes of avatars as jobs run them: from a data set of pictures, with a watcher, to a candidate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.common.store import Kind
from services.finetune.catalogue.entries import recipe
from services.finetune.recipes import pretrain_diffusion
from services.finetune.recipes.gan.alarms import tell
from services.finetune.recipes.gan.pitfalls.detectors import COLLAPSE, VANISHING
from services.finetune.recipes.gan.pitfalls.events import Event, What
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.finetune.recipes.peeps.uploaded import read, write
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Alone, Stopped
from services.finetune.worker.running import load

TEXT = Path(__file__).parents[3] / "models/peeps-clip/2"
CLIP = {"width": 32, "text_layers": 1, "image_layers": 1, "dimensions": 16, "batch": 8}
SMALL = pretrain_diffusion.Config(widths=(32, 32), blocks=1, attends=(False, True))
GAN = {"size": 16, "finest": 8, "most": 16, "batch": 8, "look_every": 4}
WISHES = {
    "pretrain_clip": (CLIP, Kind.TEXT_IMAGE_EMBEDDER),
    "pretrain_diffusion": ({"batch": 4, "look_every": 4}, Kind.DIFFUSION),
    "train_upscaler": ({"batch": 4}, Kind.UPSCALER),
    "train_gan": (GAN, Kind.GAN),
}


class Following(Alone):
    """Keeps what is offered and rung; wants a stop after a step, where it is told to."""

    def __init__(self, stops_after: int = 0) -> None:
        self.candidates, self.alarms, self._left = [], [], stops_after

    def offered(self, candidate):
        self.candidates.append(candidate)
        return True

    def alarmed(self, alarm):
        self.alarms.append(alarm)

    def wants_stop(self):
        self._left -= 1
        return self._left == 0


@pytest.fixture(scope="module")
def few():
    peeps = Peeps(HELD_OUT_FOLDER)
    peeps.images, peeps.avatars = peeps.images[:40], peeps.avatars[:40]
    return peeps


@pytest.fixture(scope="module")
def data(few, tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write(few, folder / "drawn")
    return folder


def task_of(name: str, data: Path, work: Path) -> Task:
    known = recipe(name)
    aids = {"text": TEXT} if "text" in known.aids else {}
    parameters = known.read_parameters(WISHES[name][0], "")
    return Task(work, data, data, parameters=parameters, steps=4, aids=aids, device="cpu")


@pytest.mark.parametrize("name", WISHES)
def test_a_task_that_was_stopped_goes_on_to_its_candidate(name, data, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_diffusion, "Config", lambda: SMALL)
    run, task = load(recipe(name)), task_of(name, data, tmp_path)
    with pytest.raises(Stopped):
        run(task, Following(stops_after=2))
    following = Following()
    run(task, following)
    run(task, following)  # once more, as after a kill at the very end
    first, again = following.candidates
    assert first == again
    manifest = json.loads((first.folder / "model.json").read_text())
    assert manifest["kind"] == WISHES[name][1]
    assert first.folder == task.candidate(4)
    assert {score.name for score in first.scores} == set(manifest["metrics"])


def test_avatars_come_back_as_they_were(few, data, tmp_path):
    found = read(data, tmp_path / "avatars")
    assert np.array_equal(found.images, few.images)
    assert [each.attributes for each in found.avatars] == [each.attributes for each in few.avatars]


def test_pictures_of_something_else_are_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.png", "caption": "a cat"}\n')
    with pytest.raises(ValueError, match="names no avatars"):
        read(tmp_path, tmp_path / "avatars")


def test_a_journal_is_heard():
    following = Following()
    tell(following, Event(7, COLLAPSE, What.ACTION, "roll back", ["spread"], {"spread": 0.1}))
    tell(following, Event(9, VANISHING, What.RECOVERED))
    first, second = following.alarms
    assert (first.kind, first.step, first.action, first.cleared) == ("mode_collapse", 7, "roll back", False)
    assert (second.kind, second.cleared) == ("vanishing_gradient", True)
