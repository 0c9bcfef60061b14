"""What a recipe needs, made ready: the data set as a folder of files, the base's version."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from services.common.errors import Code, Reason, ServiceError
from services.common.store import ModelStore
from services.finetune.catalogue.recipe import Recipe
from services.finetune.datasets.dataset import Dataset, StoredFile
from services.finetune.datasets.records import DatasetRecords
from services.finetune.datasets.storage.content import Content
from services.finetune.jobs.job import Spec
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Stopped, Watcher
from services.finetune.waiting import wait

T = TypeVar("T")

_MARK = ".digest"
_TRIES = 6
_FIRST_PAUSE = 1.0


@dataclass(frozen=True)
class Asked:
    """For whom, and what."""

    tenant: str
    spec: Spec
    base_version: str = ""
    """name:version of the base, once the job has read it."""


@dataclass(frozen=True)
class Means:
    """Where things come from, and how much of this machine a run may have."""

    datasets: DatasetRecords
    content: Content
    store: ModelStore
    threads: int
    device: str = "auto"


@dataclass(frozen=True)
class Prepared:
    """The task, and what of the job is known by it."""

    task: Task
    dataset_digest: str
    base_version: str


class Preparation:
    """Of one job in its folder."""

    def __init__(self, asked: Asked, recipe: Recipe, means: Means, folder: Path, watcher: Watcher) -> None:
        self._asked, self._recipe, self._means = asked, recipe, means
        self._folder, self._watcher = folder, watcher

    def run(self) -> Prepared:
        """Raises ServiceError for what is not there, Stopped, OSError where there is no room."""
        spec = self._asked.spec
        data = self._data(spec.dataset_id, "data")
        validation = self._data(spec.validation_dataset_id, "validation")
        base, base_version = self._base()
        task = Task(
            work=self._folder / "work",
            data=data[0] if data else None,
            validation=validation[0] if validation else None,
            base=base,
            base_version=base_version,
            aids=self._aids(),
            parameters=spec.parameters,
            steps=spec.steps,
            seed=spec.seed,
            checkpoint_every=spec.checkpoint_every,
            keep=spec.keep_checkpoints,
            patience=spec.patience,
            threads=self._means.threads,
            device=self._means.device,
            training_data=described(data[1]) if data else "",
        )
        return Prepared(task, data[1].digest if data else "", base_version)

    def _data(self, dataset_id: str, name: str) -> tuple[Path, Dataset] | None:
        if not dataset_id:
            return None
        dataset, files = self._means.datasets.files(self._asked.tenant, dataset_id)
        folder = self._folder / name
        mark = folder.with_suffix(_MARK)
        if not mark.exists() or mark.read_text() != dataset.digest:
            self._fill(folder, dataset, files)
            mark.write_text(dataset.digest)
        return folder, dataset

    def _fill(self, folder: Path, dataset: Dataset, files: list[StoredFile]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        for number, file in enumerate(files):
            self._watcher.progressed(number, len(files), f"fetching {dataset.display_name}")
            self._check()
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(patient(partial(self._means.content.fetch, dataset.tenant, file.sha256)), target)

    def _base(self) -> tuple[Path | None, str]:
        """As it was when the job first read it, whatever an alias names now."""
        spec = self._asked.spec
        if not spec.base:
            return None, ""
        is_named = not spec.base.startswith(("hf:", "file:"))
        reference = self._asked.base_version if is_named and self._asked.base_version else spec.base
        store = self._means.store
        version = patient(lambda: wait(store.resolve(reference, self._fetched)))
        if self._recipe.base is not None and (why := self._recipe.base.refusal(version.manifest)):
            raise ServiceError(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, f"{version} {why}")
        self._check()
        return patient(lambda: wait(store.fetch(version, self._fetched))), str(version)

    def _aids(self) -> dict[str, Path]:
        """Those that are there: a recipe does without the others."""
        found = {}
        for name, reference in self._recipe.aids.items():
            try:
                found[name] = patient(partial(self._aid, reference))
            except ServiceError as error:
                if error.code is not Code.NOT_FOUND:
                    raise
                self._watcher.logged(f"goes on without {reference}: {error.message}")
        return found

    def _aid(self, reference: str) -> Path:
        store = self._means.store
        return wait(store.fetch(wait(store.resolve(reference))))

    def _fetched(self, done: int, total: int, message: str) -> None:
        self._watcher.progressed(done, total, f"fetching {self._asked.spec.base}: {message}")

    def _check(self) -> None:
        if self._watcher.wants_stop():
            raise Stopped("stopped before the first step")


def described(dataset: Dataset) -> str:
    """A data set in a sentence, for the manifests of what is made from it."""
    examples = dataset.report.examples if dataset.report else 0
    return (
        f"data set {dataset.display_name!r} ({dataset.dataset_id}), {examples} examples, "
        f"sha256 {dataset.digest}"
    )


def patient(call: Callable[[], T]) -> T:
    """What ``call`` returns; tried again for a minute while a place is away. Raises what it does then."""
    pause = _FIRST_PAUSE
    for _ in range(_TRIES):
        try:
            return call()
        except ServiceError as error:
            if error.code is not Code.UNAVAILABLE:
                raise
        time.sleep(pause)
        pause *= 2
    return call()


def _put(source: Path, target: Path) -> None:
    """By a link where that can be: nothing is copied, and it stays when a cache is emptied."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
