"""What a worker does with a candidate: its files are measured, its place found, all of it written down."""

from __future__ import annotations

import math
from dataclasses import asdict, replace

from services.finetune.checkpoints.checkpoint import Checkpoint, KeptPreview, checkpoint_id
from services.finetune.checkpoints.folder import JobFolder, digest_of, size_of
from services.finetune.checkpoints.records import CheckpointRecords, replace_all, to_json
from services.finetune.checkpoints.standings import Standings, standings
from services.finetune.jobs.claims import Report
from services.finetune.jobs.job import Happening, Job, Kind
from services.finetune.recipes.watching import Candidate
from services.finetune.worker.reporter import Reporter


class Keeper:
    """Of one job's checkpoints."""

    def __init__(self, job: Job, records: CheckpointRecords, folder: JobFolder, reporter: Reporter) -> None:
        self._job, self._records, self._folder, self._reporter = job, records, folder, reporter

    def offered(self, candidate: Candidate) -> bool:
        """Keep it; False when the training may end. One that is known already changes nothing."""
        before = self._reporter.ask(lambda: self._records.all(self._job.tenant, self._job.job_id))
        fresh = self._checkpoint(candidate)
        known = next((each for each in before if each.step == candidate.step), None)
        keep = self._job.spec.keep_checkpoints
        if known is not None and known.digest == fresh.digest and known.scores == fresh.scores:
            return not standings(before, keep).is_worse_for(self._job.spec.patience)
        others = [each for each in before if each.step != candidate.step]
        found = standings([*others, fresh], keep)
        self._write(found, candidate.step)
        for step in found.gone:
            self._folder.forget(step)
        return not found.is_worse_for(self._job.spec.patience)

    def _write(self, found: Standings, step: int) -> None:
        """All checkpoints, and the events of the new one, in one transaction."""
        fresh = next(each for each in found.checkpoints if each.step == step)
        happened = [Happening(Kind.CHECKPOINT, to_json(fresh))]
        happened += [Happening(Kind.PREVIEW, {"step": step, **asdict(preview)}) for preview in fresh.previews]
        tenant, job_id = self._job.tenant, self._job.job_id
        self._reporter.write(
            Report(
                happened=happened,
                values={"best_checkpoint_id": found.best},
                also=lambda connection: replace_all(connection, tenant, job_id, found.checkpoints),
            )
        )

    def _checkpoint(self, candidate: Candidate) -> Checkpoint:
        previews = [
            KeptPreview(
                each.prompt,
                each.seed,
                each.text,
                self._folder.keep_preview(candidate.step, number, each),
            )
            for number, each in enumerate(candidate.previews)
        ]
        scores = [replace(each, value=float(each.value)) for each in candidate.scores]
        return Checkpoint(
            job_id=self._job.job_id,
            checkpoint_id=checkpoint_id(self._job.job_id, candidate.step),
            step=candidate.step,
            rank=0,
            # What is no number has no JSON; a candidate without a score comes last by it.
            scores=tuple(each for each in scores if math.isfinite(each.value)),
            veto_reason="",
            best=False,
            promoted=False,
            previews=tuple(previews),
            size_bytes=size_of(candidate.folder),
            digest=digest_of(candidate.folder),
            create_time=self._reporter.ask(self._records.now),
        )
