"""The work on one data set, from what arrives to what is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import Code, ServiceError
from services.finetune.datasets.checking.check import Outcome, Tokens, Wanted, check
from services.finetune.datasets.checking.items import Item
from services.finetune.datasets.dataset import Dataset, Progress, State
from services.finetune.datasets.importing.opening import open_source
from services.finetune.datasets.importing.source import Allowed, SourceFailed
from services.finetune.datasets.storage.arrivals import Arrival
from services.finetune.datasets.storage.keeping import Keeper, Piece
from services.finetune.datasets.uploads import Uploads
from services.finetune.datasets.working.fetching import fetch_all
from services.finetune.datasets.working.leases import Claim, LeaseLost, Leases

_KEEP_TRIES = 5


class Stopped(Exception):
    """The process ends, or the data set is another's by now."""


@dataclass(frozen=True)
class Means:
    """What the work needs beside the claim. ``imports``: a folder for the files of each import."""

    leases: Leases
    keeper: Keeper
    uploads: Uploads
    imports: Path
    allowed: Allowed
    tokens: Callable[[], Tokens]

    def folder_of(self, dataset: Dataset) -> Path:
        """Where the files of ``dataset`` arrive. Raises LeaseLost when it was deleted meanwhile."""
        if dataset.source_uri:
            return self.imports / dataset.tenant / dataset.dataset_id
        folder = self.uploads.folder_of_dataset(dataset.tenant, dataset.dataset_id)
        if folder is None:
            raise LeaseLost(dataset.dataset_id)
        return folder


class Task:
    """Blocking, in a thread of its own."""

    def __init__(self, claim: Claim, means: Means) -> None:
        self.progress = Progress()
        self._claim = claim
        self._means = means
        self._leases = means.leases
        self._stop = threading.Event()

    def stop(self) -> None:
        """Let the work end soon, unfinished."""
        self._stop.set()

    def advance(self, progress: Progress) -> None:
        """Note how far it is. Raises Stopped when it is to end."""
        if self._stop.is_set():
            raise Stopped
        self.progress = progress

    def run(self) -> State:
        """Bring the data set to its end, READY or FAILED.

        Raises Stopped, LeaseLost, or ServiceError UNAVAILABLE: the work is not done, and may be
        claimed again.
        """
        folder = self._means.folder_of(self._claim.dataset)
        try:
            state = self._work(folder)
        except (SourceFailed, ServiceError) as error:
            if isinstance(error, ServiceError) and error.code is Code.UNAVAILABLE:
                raise
            why = error.message if isinstance(error, ServiceError) else str(error)
            self._leases.failed(self._claim, why)
            state = State.FAILED
        Arrival(folder, ()).remove()
        return state

    def _work(self, folder: Path) -> State:
        outcome = self._check(self._arrived(folder))
        if outcome.refused:
            self._leases.failed(self._claim, outcome.refused, outcome)
            return State.FAILED
        self._keep(outcome)
        return State.READY

    def _arrived(self, folder: Path) -> Arrival:
        dataset = self._claim.dataset
        if dataset.state is State.IMPORTING:
            source = open_source(dataset.source_uri, self._means.allowed)
            arrival = fetch_all(source, folder, self._reserve, self.advance)
            self._leases.imported(self._claim)
            return arrival
        found = Arrival.open(folder)
        if found is None:
            raise SourceFailed("the files that came are gone from this machine")
        return found

    def _check(self, arrival: Arrival) -> Outcome:
        items = [
            Item(file.path, arrival.part(index), file.size_bytes) for index, file in enumerate(arrival.files)
        ]
        unpacked = 0

        def reserve(more: int) -> None:
            nonlocal unpacked
            unpacked += more
            self._reserve(arrival.size_bytes + unpacked)

        dataset = self._claim.dataset
        wanted = Wanted(dataset.kind, dataset.bad_files, reserve)
        return check(items, arrival.folder / "unpacked", wanted, self._means.tokens(), self.advance)

    def _keep(self, outcome: Outcome) -> None:
        pieces = [Piece(used.sha256, used.item.size_bytes, used.item.file) for used in outcome.used]

        def kept(done: int) -> None:
            self.advance(Progress(completed=done, total=len(pieces), message="keeping"))

        for _ in range(_KEEP_TRIES):
            self._means.keeper.keep(self._claim.dataset.tenant, pieces, kept)
            if self._leases.ready(self._claim, outcome):
                return
        raise SourceFailed("what was kept was removed again and again by somebody else")

    def _reserve(self, size_bytes: int) -> None:
        self._leases.reserve(self._claim, size_bytes)
