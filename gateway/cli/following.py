"""What the terminal shows of a job that is followed: a bar, figures, previews, a line for what happens."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from gateway.cli import output
from gateway.cli.pictures import half_blocks, opened
from pequod.common.v1 import Progress as Done
from pequod.finetune.v1 import (
    JOB_STATE_CANCELLED,
    JOB_STATE_FAILED,
    JOB_STATE_PAUSED,
    JOB_STATE_SUCCEEDED,
    LOG_LEVEL_INFO,
    Alarm,
    AlarmKind,
    Checkpoint,
    GetJobRequest,
    Job,
    JobState,
    LogLine,
    Preview,
    Published,
    StateChange,
    StepMetrics,
    WatchJobRequest,
    WatchJobResponse,
)
from pequod_client import Client, PequodError

if TYPE_CHECKING:
    from PIL.Image import Image as Drawing

TIMEOUT = 30 * 24 * 3600.0
_TRIES = 20
"""Streams that may break one after the other without an event more."""
_PAUSE = 1.0
_SHOWN_SCORES = 6


def state_name(state: JobState.ValueType) -> str:
    """As people read it."""
    return JobState.Name(state).removeprefix("JOB_STATE_").lower()


def follow(client: Client, job_id: str, as_json: bool, previews: Path | None = None) -> Job:
    """Show a job's events until it ends; returns it. ``previews``: folder for their pictures."""
    view = nullcontext() if as_json else Following(previews)
    with view as shown:
        for event in _events(client, job_id, previews is not None or not as_json):
            if shown is None:
                output.message_json(event)
            else:
                shown.show(event)
            if event.state.to == JOB_STATE_PAUSED and _job(client, job_id).last_event == event.number:
                break
    return _job(client, job_id)


def _job(client: Client, job_id: str) -> Job:
    return client.finetune.GetJob(GetJobRequest(job_id=job_id)).job


def _events(client: Client, job_id: str, previews: bool) -> Iterator[WatchJobResponse]:
    """Each event once, over as many streams as it takes. Raises PequodError when none comes any more."""
    seen, tries = 0, _TRIES
    while True:
        request = WatchJobRequest(job_id=job_id, after_event=seen, previews=previews)
        try:
            for event in client.finetune.WatchJob(request, timeout=TIMEOUT):
                if event.number:
                    seen, tries = event.number, _TRIES
                    yield event
            return
        except PequodError as error:
            tries -= 1
            if error.code.name not in {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"} or not tries:
                raise
            time.sleep(_PAUSE)


class Following(Progress):
    """A bar over the steps, the newest previews above it."""

    def __init__(self, folder: Path | None) -> None:
        console = output.error_console()
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self._pictures: dict[str, Drawing] = {}
        super().__init__(*columns, console=console, transient=console.is_terminal, redirect_stdout=False)
        self._folder, self._count = folder, 0
        self._bar = self.add_task("waiting", total=None, figures="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Previews where there are any, then the bar."""
        if self._pictures and self.console.is_terminal:
            yield half_blocks(list(self._pictures.values()), self.console.width)
        yield from super().get_renderables()

    def show(self, event: WatchJobResponse) -> None:
        """One event."""
        kind = event.WhichOneof("event")
        if kind is not None:
            getattr(self, f"_{kind}")(getattr(event, kind))

    def _state(self, change: StateChange) -> None:
        total, done = (1, 1) if change.to == JOB_STATE_SUCCEEDED else (None, 0)
        self.update(self._bar, description=state_name(change.to), figures="", total=total, completed=done)
        if change.error.message and change.to not in (JOB_STATE_FAILED, JOB_STATE_CANCELLED):
            self._line(f"{change.error.reason}: {change.error.message}")

    def _metrics(self, step: StepMetrics) -> None:
        figures = "  ".join(f"{name} {value:.4g}" for name, value in sorted(step.values.items()))
        left = f"  {duration(step.remaining_seconds)} left" if step.remaining_seconds else ""
        told = f"step {step.step} of {step.steps}  {figures}{left}"
        self.update(self._bar, completed=step.step, total=step.steps, figures=told)

    def _progress(self, progress: Done) -> None:
        total, told = progress.total or None, progress.message[:60]
        self.update(self._bar, completed=progress.completed, total=total, figures=told)

    def _preview(self, preview: Preview) -> None:
        if preview.text:
            self._line(f"step {preview.step}, {preview.prompt!r}: {preview.text[:300]}")
        if not preview.image.data:
            return
        self._pictures[f"{preview.prompt}\0{preview.seed}"] = opened(preview.image.data)
        if self._folder is not None:
            self._count += 1
            name = f"{preview.step:06d}-{self._count:04d}.png"
            (self._folder / name).write_bytes(preview.image.data)

    def _log(self, line: LogLine) -> None:
        if line.level == LOG_LEVEL_INFO or "\n" not in line.text:
            self._line(line.text)

    def _checkpoint(self, checkpoint: Checkpoint) -> None:
        self._line(_scored(checkpoint))

    def _alarm(self, alarm: Alarm) -> None:
        self._line(_rung(alarm))

    def _published(self, published: Published) -> None:
        self._line(_named(published))

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)


def _scored(checkpoint: Checkpoint) -> str:
    scores = ", ".join(f"{each.name} {each.value:.4g}" for each in checkpoint.scores[:_SHOWN_SCORES])
    rank = f"rank {checkpoint.rank}" if checkpoint.rank else f"ruled out: {checkpoint.veto_reason}"
    best = ", the best so far" if checkpoint.best else ""
    return f"checkpoint at step {checkpoint.step}, {rank}{best}: {scores}"


def _rung(alarm: Alarm) -> str:
    name = AlarmKind.Name(alarm.kind).removeprefix("ALARM_KIND_").lower().replace("_", " ")
    done = f"; {alarm.action}" if alarm.action else ""
    return f"{'over' if alarm.cleared else 'alarm'}, {name} at step {alarm.step}: {alarm.message}{done}"


def _named(published: Published) -> str:
    before = f", which named {published.previous_version} before" if published.previous_version else ""
    return f"published as {published.model}@{published.alias}{before}"


def duration(seconds: float) -> str:
    """1:02:03, or 2:03."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
