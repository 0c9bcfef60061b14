"""Candidates: written whole, noted, ranked, kept or removed, published; when there have been enough."""

from __future__ import annotations

import errno
import json
import math

import pytest
import torch
from safetensors.torch import save_file

from services.common.store import Kind
from services.common.store.disk import DiskLayer
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.offering import Judged, Offers, run_offering
from services.finetune.recipes.candidates.publishing import publish_best
from services.finetune.recipes.candidates.ranking import best, beyond, is_worse_for, ranked
from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.version import Corpus, publish
from services.finetune.recipes.watching import Alone, Better, Candidate, Preview, Score
from tests.unit.recipes.disks import limited


def scored(step, loss=None, likeness=None, veto="", folder=None):
    scores = []
    if loss is not None:
        scores.append(Score("loss", loss, Better.LOWER))
    if likeness is not None:
        scores.append(Score("likeness", likeness, Better.HIGHER))
    scores.append(Score("drift", 9.0 if veto else 0.1, Better.NEITHER, veto))
    return Candidate(step, folder, tuple(scores))


def test_places_are_added_and_what_learnt_less_comes_first_of_equals():
    order = ranked([scored(1, 0.9, 0.5), scored(2, 0.5, 0.8), scored(3, 0.4, 0.1), scored(4, 0.5, 0.8)])
    assert [(each.step, each.rank) for each in order] == [(2, 1), (4, 2), (3, 3), (1, 4)]
    assert order[0].places == {"loss": 2, "likeness": 1}
    assert [each.total for each in order] == [3, 3, 5, 7]


def test_a_veto_puts_the_best_of_all_behind():
    order = ranked([scored(1, 0.9, 0.1), scored(2, 0.1, 0.9, veto="too far")])
    assert [(each.step, each.rank, each.vetoes) for each in order] == [(1, 1, ()), (2, 0, ("too far",))]
    assert best([scored(2, 0.1, 0.9, veto="too far")]) is None
    assert best([]) is None


def test_a_score_that_is_missing_or_no_number_is_the_worst():
    order = ranked([scored(1, math.nan, 0.5), scored(2, 5.0, 0.5), scored(3, None, 0.5)])
    assert [each.step for each in order] == [2, 1, 3]
    assert order[1].places["loss"] == order[2].places["loss"] == 2


@pytest.mark.parametrize(
    ("losses", "patience", "ends"),
    [
        ([3, 2, 1], 1, False),
        ([1, 2], 1, True),
        ([1, 2], 2, False),
        ([1, 2, 3], 2, True),
        ([1, 2, 3, 4], 0, False),
        ([1], 1, False),
    ],
)
def test_patience_counts_candidates_since_the_best(losses, patience, ends):
    every = [scored(number, loss) for number, loss in enumerate(losses)]
    assert is_worse_for(every, patience) is ends


def test_patience_ends_where_nothing_was_ever_good():
    every = [scored(number, 1.0, veto="bad") for number in range(2)]
    assert is_worse_for(every, 2)
    assert not is_worse_for(every[:1], 2)


def test_those_beyond_the_best_few_go_and_one_always_stays():
    every = [scored(1, 3.0), scored(2, 1.0), scored(3, 2.0), scored(4, 0.5, veto="bad")]
    assert beyond(every, 2) == [1, 4]
    assert beyond(every, 0) == [3, 1, 4]


class Model:
    """Something in training whose losses are told beforehand."""

    def __init__(self, losses, veto_at=()):
        self.weight = torch.nn.Linear(1, 1)
        self.losses, self.veto_at, self.judged, self.written = losses, veto_at, 0, 0

    def write(self, folder):
        self.written += 1
        (folder / "weights.txt").write_text(str(self.written))
        publish(Corpus(()), folder, Kind.ADAPTER, "lora", {"rank": 4}, {}, "toy", "base:1")

    def judge(self):
        loss = self.losses[self.judged]
        veto = "drifts" if self.judged in self.veto_at else ""
        self.judged += 1
        scores = (Score("loss", loss, Better.LOWER), Score("drift", loss, Better.NEITHER, veto))
        return Judged(scores, (Preview("a cat", 3, b"PNG"), Preview("say", 4, text="miaow")))


class Follower(Alone):
    """Remembers what it hears; says that it is enough at ``end``."""

    def __init__(self, end=0):
        self.end, self.heard, self.alarms = end, [], []

    def offered(self, candidate):
        self.heard.append(candidate)
        return candidate.step != self.end

    def alarmed(self, alarm):
        self.alarms.append((alarm.kind, alarm.step, alarm.message))


def course_of(model, work, watcher):
    return Resumable(work, {"model": model.weight}, {}, 1, watcher=watcher)


def learn(step, chance):
    return torch.tensor(1.0)


def tuned(work, model, watcher, steps=8, patience=0, keep=5):
    course = course_of(model, work, watcher)
    course.resume()
    run_offering(course, Pace(steps, 2), Offers(work, watcher, keep, patience), model, learn)
    return course


def test_candidates_are_whole_versions_noted_and_offered(tmp_path):
    model, watcher = Model([4, 3, 2, 1], veto_at=(1,)), Follower()
    tuned(tmp_path, model, watcher)
    assert [each.step for each in watcher.heard] == [2, 4, 6, 8]
    assert watcher.alarms == [("drift", 4, "drifts")]
    noted = Candidates(tmp_path).find(4)
    assert noted.scores == watcher.heard[1].scores
    assert noted.previews == watcher.heard[1].previews
    assert (tmp_path / "candidates/000004-00.png").read_bytes() == b"PNG"
    assert json.loads((noted.folder / "model.json").read_text())["name"] == "candidate"
    assert not list((tmp_path / "candidates").rglob("*.partial"))


def test_a_training_ends_when_its_watcher_has_enough(tmp_path):
    watcher = Follower(end=4)
    course = tuned(tmp_path, Model([4, 3, 2, 1]), watcher)
    assert (course.step, [each.step for each in watcher.heard]) == (4, [2, 4])


def test_a_training_ends_when_patience_does(tmp_path):
    course = tuned(tmp_path, Model([1, 3, 2, 4]), Follower(), patience=2)
    assert course.step == 6


def test_what_was_made_is_offered_again_as_it_was(tmp_path):
    model = Model([4, 3, 2, 1])
    tuned(tmp_path, model, Follower(), steps=4)
    (tmp_path / "checkpoint.pt").unlink()  # as if it was killed before the first one
    watcher = Follower()
    tuned(tmp_path, model, watcher, steps=8)
    assert [each.step for each in watcher.heard] == [2, 4, 6, 8]
    assert (model.written, model.judged) == (4, 4)
    again = Follower()
    tuned(tmp_path, model, again, steps=8)
    assert [each.step for each in again.heard] == [2, 4, 6, 8]
    assert model.judged == 4


def test_files_of_all_but_the_best_are_removed(tmp_path):
    tuned(tmp_path, Model([4, 1, 3, 2]), Follower(), keep=2)
    kept = [each.folder.exists() for each in Candidates(tmp_path).all()]
    assert kept == [False, True, False, True]


def test_a_candidate_that_was_cut_short_is_written_anew(tmp_path):
    candidates = Candidates(tmp_path)

    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        candidates.write(2, fail)
    assert not candidates.path(2).exists()
    folder = candidates.write(2, Model([]).write)
    assert sorted(each.name for each in folder.iterdir()) == ["model.json", "weights.txt"]


def test_a_full_disk_is_said_as_one_and_nothing_is_left(tmp_path):
    candidates = Candidates(tmp_path)
    with limited(50_000), pytest.raises(OSError, match="File too large") as failed:
        candidates.write(2, lambda folder: save_file({"a": torch.zeros(50_000)}, folder / "a.safetensors"))
    assert failed.value.errno == errno.EFBIG
    assert not list(tmp_path.rglob("*.safetensors"))
    candidates.write(2, lambda folder: save_file({"a": torch.zeros(50_000)}, folder / "a.safetensors"))
    assert (candidates.path(2) / "a.safetensors").stat().st_size > 200_000


def test_the_best_is_published_with_all_scores(tmp_path):
    tuned(tmp_path / "work", Model([4, 1, 3, 2]), Follower())
    out = tmp_path / "store/mine/1"
    manifest = publish_best(Candidates(tmp_path / "work"), out, {"seconds": 3.0}, [])
    assert (manifest.name, manifest.version, manifest.parent) == ("mine", "1", "base:1")
    assert manifest.metrics == {"loss": 1.0, "drift": 1.0, "seconds": 3.0, "step": 4.0}
    assert [each["rank"] for each in manifest.config["candidates"]] == [4, 1, 3, 2]
    assert (out / "weights.txt").read_text() == "2"
    layer = DiskLayer(tmp_path / "store", "user", writable=False)
    assert layer.manifest("mine", "1") == manifest
    picked = publish_best(Candidates(tmp_path / "work"), tmp_path / "store/mine/2", {}, [], pick=8)
    assert picked.metrics["step"] == 8.0


@pytest.mark.parametrize(
    ("vetoes", "keep", "pick", "said"),
    [
        ((0, 1, 2, 3), 5, 0, r"every candidate is ruled out \(drifts\); pick one"),
        ((), 5, 3, "there is no candidate of step 3; there are 2, 4, 6, 8"),
        ((), 1, 2, "files of the candidate of step 2 are gone"),
    ],
)
def test_what_cannot_be_published_ends_with_a_sentence(vetoes, keep, pick, said, tmp_path):
    tuned(tmp_path / "work", Model([4, 1, 3, 2], vetoes), Follower(), keep=keep)
    with pytest.raises(ValueError, match=said):
        publish_best(Candidates(tmp_path / "work"), tmp_path / "store/mine/1", {}, [], pick)
    assert not (tmp_path / "store/mine/1/model.json").exists()
