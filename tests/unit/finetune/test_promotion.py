"""Promotion: one version, whoever dies at any step, and however many promote at once."""

from __future__ import annotations

import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.common.errors import Code, Reason, ServiceError
from services.finetune.catalogue.entries import RECIPES
from services.finetune.checkpoints.folder import JobFolder
from services.finetune.jobs import rows
from services.finetune.jobs.job import Kind, Promotion
from services.finetune.promotion.promoting import Promoter
from services.finetune.promotion.records import PromotionRecords, Wanted, mark
from services.finetune.recipes.version import manifest_of
from services.finetune.waiting import wait
from tests.unit.finetune.fake_recipe import FAKE
from tests.unit.finetune.job_parts import TENANT, events
from tests.unit.finetune.test_job_ends import Bench


class Killed(BaseException):
    """The process ends here."""


class Desk:
    """A finished job whose checkpoints nobody has promoted."""

    def __init__(self, database, folder):
        (folder / "shipped").mkdir()
        self.bench, self.database = Bench(database, folder), database
        made = self.bench.create("losses 2 1", promotion=Promotion.MANUAL)
        self.job = self.bench.run(made)
        self.found = self.bench.checkpoints.all(TENANT, self.job.job_id)
        self.folder = JobFolder(self.bench.work, TENANT, self.job.job_id)
        self.store, self.promoter = self.bench.store, self.bench.promoter

    def wanted(self, step=2, name="made", alias="production"):
        return Wanted(TENANT, self.job.job_id, f"{self.job.job_id}-{step}", name, alias)

    def promote(self, step=2, expected=None, promoter=None, mark=None, **more):
        wanted = self.wanted(step, **more)
        folder, checkpoint = self.folder.candidate(step), self.found[step - 1]
        return (promoter or self.promoter).promote(
            self.job, checkpoint, folder, wanted, mark or self.mark, expected
        )

    def mark(self, wanted):
        self.database.write(lambda c: mark(c, rows.row(c, TENANT, wanted.job_id), wanted))

    def versions(self, name="made"):
        return [each.version for each in wait(self.store.list_versions()) if each.name == name]

    def published(self):
        return [e.data for e in events(self.bench.records, self.job.job_id) if e.kind is Kind.PUBLISHED]


@pytest.fixture
def desk(database, tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "fake", FAKE)
    return Desk(database, tmp_path)


def dying(target, name, after=True):
    """Make a method of ``target`` end the process, once, before or after it has done its work."""
    real, state = getattr(target, name), {"alive": True}

    def method(*arguments, **more):
        if not state["alive"]:
            return real(*arguments, **more)
        state["alive"] = False
        if after and inspect.iscoroutine(done := real(*arguments, **more)):
            wait(done)
        raise Killed

    setattr(target, name, method)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", ["reserve", "publish", "note_previous", "set_alias", "mark"])
def test_whoever_dies_at_any_step_leaves_one_version(desk, step, after):
    target = {"reserve": desk.promoter.records, "note_previous": desk.promoter.records, "mark": desk}
    dying(target.get(step, desk.store), step, after)
    with pytest.raises(Killed):
        desk.promote()
    promoted = desk.promote()
    assert (str(promoted.version), promoted.previous_version) == ("made:1", "")
    assert desk.versions() == ["1"]
    assert [each["model"] for each in desk.published()] == ["made:1"]
    job = desk.bench.records.get(TENANT, desk.job.job_id)
    assert (job.model, job.promoted_checkpoint_id) == ("made:1", f"{desk.job.job_id}-2")


def test_many_at_once_make_one_version(desk):
    start = threading.Barrier(6)

    def work(_):
        own = Promoter(PromotionRecords(desk.database), desk.store)
        start.wait()
        return str(desk.promote(promoter=own).version)

    with ThreadPoolExecutor(6) as threads:
        assert set(threads.map(work, range(6))) == {"made:1"}
    assert desk.versions() == ["1"]
    assert len(desk.published()) == 1


def test_two_checkpoints_at_once_are_two_versions(desk):
    with ThreadPoolExecutor(2) as threads:
        made = list(threads.map(lambda step: str(desk.promote(step).version), (1, 2)))
    assert sorted(made) == ["made:1", "made:2"]
    assert len(desk.published()) == 2


def test_promoting_again_moves_the_alias_back(desk):
    desk.promote(2)
    second = desk.promote(1)
    assert (str(second.version), second.previous_version) == ("made:2", "1")
    again = desk.promote(2)
    assert str(again.version) == "made:1"
    assert wait(desk.store.resolve("made@production")).version == "1"
    assert desk.versions() == ["1", "2"]
    assert len(desk.published()) == 2


def test_a_version_that_was_published_by_hand_is_passed_over(desk):
    """Between the look at the store and the publication."""
    other = desk.folder.candidate(1)
    manifest = manifest_of(other).model_copy(update={"name": "made", "version": "1"})
    real = desk.store.publish

    async def publish(folder, given):
        desk.store.publish = real
        await real(other, manifest)
        return await real(folder, given)

    desk.store.publish = publish
    assert str(desk.promote(2).version) == "made:2"
    assert desk.versions() == ["1", "2"]
    assert desk.published()[0]["previous_version"] == ""


def test_an_alias_is_moved_only_from_where_it_was_said_to_be(desk):
    with pytest.raises(ServiceError) as caught:
        desk.promote(2, expected="4")
    assert (caught.value.code, caught.value.reason) == (Code.ABORTED, Reason.ALIAS_CONFLICT)
    assert desk.versions() == [], "nothing is published then"
    desk.promote(2, expected="")
    desk.promote(2, expected="")  # done already: no conflict
    desk.promote(1, expected="1")
    assert wait(desk.store.resolve("made@production")).version == "2"


def test_a_checkpoint_without_files_cannot_be_promoted(desk):
    desk.folder.forget(2)
    with pytest.raises(ServiceError) as caught:
        desk.promote(2)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.CHECKPOINT_GONE)
