"""What the terminal shows while images are painted: place in the queue, steps, previews."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Self

from rich.console import RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli import output
from gateway.cli.pictures import half_blocks, opened
from pequod.diffusion.v1 import GenerateResponse, Queued, Step

if TYPE_CHECKING:
    from PIL.Image import Image as Drawing

_SHOWN_LETTERS = 200


class Painting(Progress):
    """A bar over all steps of all images, with what they look like by now above it.

    On a terminal it leaves with the work; elsewhere its last state is printed.
    """

    def __init__(self, images: int) -> None:
        console = output.error_console()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._previews: dict[int, Drawing] = {}
        super().__init__(*columns, console=console, transient=console.is_terminal, redirect_stdout=False)
        self._images = images
        self._steps: dict[int, int] = {}
        self._place: int | None = None
        self._has_warned = False
        self._bar = self.add_task("waiting", total=None)

    def __enter__(self) -> Self:
        return self

    def stop(self) -> None:
        """End the display; nothing to end where the first reply never came."""
        if self.live.is_started:
            super().stop()

    def follow(self, reply: GenerateResponse) -> None:
        """Show what has happened; from the first reply on there is something to show."""
        self.start()
        if reply.HasField("queued"):
            self._waits(reply.queued)
        elif reply.HasField("step"):
            self._stepped(reply.step)
        elif reply.HasField("done"):
            self.update(self._bar, description="painted")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Previews where there are any, then the bar."""
        if self._previews:
            pictures = [self._previews[index] for index in sorted(self._previews)]
            yield half_blocks(pictures, self.console.width)
        yield from super().get_renderables()

    def _waits(self, queued: Queued) -> None:
        if not self._has_warned:
            self._has_warned = True
            for what, cut in (
                ("prompt", queued.truncated_prompt),
                ("negative prompt", queued.truncated_negative_prompt),
            ):
                if cut:
                    output.warn(f"the {what} is too long for the model, which does not read: {_short(cut)!r}")
        wait, run = queued.estimated_wait_ms / 1e3, queued.estimated_run_ms / 1e3
        text = f"waiting, {queued.position} before, {wait:.1f} s, then {run:.1f} s"
        if queued.position and queued.position != self._place and not self.console.is_terminal:
            output.note(text)
        self._place = queued.position
        self.update(self._bar, description=text if queued.position else "waiting")

    def _stepped(self, step: Step) -> None:
        self._steps[step.index] = step.step
        if step.HasField("preview"):
            self._previews[step.index] = opened(step.preview.data)
        self.update(
            self._bar,
            description="painting",
            total=step.steps * self._images,
            completed=sum(self._steps.values()),
        )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN_LETTERS else text[: _SHOWN_LETTERS - 1] + "…"
