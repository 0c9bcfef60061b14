"""What ``pequod face`` asks of the GAN service, and what it shows of the replies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import typer
from google.protobuf import json_format
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gateway.cli import output, wishes
from gateway.cli.pictures import Target, read_picture
from gateway.cli.wishes import Space, Wish
from pequod.common.v1 import Image
from pequod.gan import v1

_MOVING = {".webp": v1.ANIMATION_FORMAT_WEBP, ".gif": v1.ANIMATION_FORMAT_GIF}
_SMALL = 64
"""Pixels a side up to which a picture is so small that larger ones are spoken of."""


def sample(gan: v1.GanServiceStub, wish: Wish) -> None:
    """One face, or several in a grid."""
    if wish.code is not None:
        itself = v1.StyleDonor(origin=v1.Origin(code=wish.code), layers=[0])
        _mixed(gan, wish, [itself])
        return
    first = wish.first_seed()
    target = Target.of(wish.out, 1, "face-{seed}.png")
    request = v1.SampleRequest(
        model=wish.model,
        seeds=[(first + place) % 2**64 for place in range(wish.n)],
        options=_finished(wish, target),
        layout=v1.LAYOUT_GRID if wish.n > 1 else v1.LAYOUT_SINGLES,
    )
    reply = gan.Sample(request)
    image = reply.grid if wish.n > 1 else reply.images[0].image
    written = target.write(image.data, seed=first)
    _keep(wish, reply.images[0].code)
    _tell(wish, reply, image, written, str(first))


def walk(gan: v1.GanServiceStub, wish: Wish, frames: int, stops: int, space: Space, rate: int) -> None:
    """A moving picture from face to face, back to the first."""
    first = wish.first_seed()
    out = Path(f"walk-{first}.webp") if wish.out is None else wish.out
    kind = _MOVING.get(out.suffix.lower())
    if kind is None:
        raise typer.BadParameter(f"{out}: a name that ends in {', '.join(_MOVING)} is needed")
    _check_folder(out)
    begin = [v1.Origin(code=wish.code)] if wish.code is not None else []
    seeds = [v1.Origin(seed=(first + place) % 2**64) for place in range(stops - len(begin))]
    request = v1.InterpolateRequest(
        model=wish.model,
        stops=[*begin, *seeds],
        frames=frames,
        space=v1.LATENT_SPACE_Z if space is Space.Z else v1.LATENT_SPACE_W,
        loop=True,
        options=wish.options,
        animation=kind,
        frames_per_second=rate,
    )
    with _bar("walking", frames) as bar:
        for reply in gan.Interpolate(request):
            if reply.HasField("progress"):
                bar(reply.progress.completed)
    _write(out, reply.animation.data)
    _tell(wish, reply, reply.animation, out, str(first))


def project(gan: v1.GanServiceStub, wish: Wish, file: Path, steps: int | None) -> None:
    """The face that is nearest to a picture."""
    usual = file.with_name(f"{file.stem}-projected.png")
    target = Target.of(usual if wish.out is None else wish.out)
    request = v1.ProjectRequest(
        model=wish.model, image=_sent(file), steps=steps, options=_finished(wish, target)
    )
    with _bar("looking", 100 if steps is None else steps) as bar:
        for reply in gan.Project(request):
            if reply.HasField("step"):
                bar(reply.step.step)
    found = reply.result
    written = target.write(found.image.data)
    _keep(wish, found.code)
    if wish.as_json:
        found.image.ClearField("data")
        output.message_json(reply)
        return
    row = (str(written), f"{found.psnr_db:.1f}", f"{found.similarity:.3f}")
    output.table(("file", "PSNR dB#", "similarity#"), [row])


def score(gan: v1.GanServiceStub, wish: Wish, files: Sequence[Path]) -> None:
    """What the discriminator thinks of pictures."""
    images = [_sent(each) for each in files]
    reply = gan.Score(
        v1.ScoreRequest(model=wish.model, images=images, attributes=dict(wish.options.attributes))
    )
    if wish.as_json:
        output.message_json(reply)
        return
    rows = [
        (str(file), f"{each.logit:.2f}", f"{each.real_percentile:.0f} %", f"{each.fake_percentile:.0f} %")
        for file, each in zip(files, reply.scores, strict=True)
    ]
    output.table(("file", "logit#", "above so many real#", "above so many made#"), rows)


def mix(gan: v1.GanServiceStub, wish: Wish, donors: Sequence[str]) -> None:
    """A face with some layers of others."""
    _mixed(gan, wish, [wishes.donor(each) for each in donors])


def edit(gan: v1.GanServiceStub, wish: Wish, edits: Sequence[str]) -> None:
    """A face moved along directions."""
    origin, name = wish.origin()
    target = Target.of(Path(f"face-{name}-edited.png") if wish.out is None else wish.out)
    reply = gan.Edit(
        v1.EditRequest(
            model=wish.model,
            origin=origin,
            edits=[wishes.edit(each) for each in edits],
            options=_finished(wish, target),
        )
    )
    written = target.write(reply.image.image.data)
    _keep(wish, reply.image.code)
    _tell(wish, reply, reply.image.image, written, name)


def nearest(gan: v1.GanServiceStub, wish: Wish, file: Path | None) -> None:
    """The training images nearest to a picture, or to a face."""
    request = v1.NearestRequest(model=wish.model)
    if file is None:
        request.origin.CopyFrom(wish.origin()[0])
    else:
        request.image.CopyFrom(_sent(file))
    reply = gan.Nearest(request)
    if wish.as_json:
        output.message_json(reply)
        return
    rows = [(str(each.index), f"{each.similarity:.3f}", each.caption) for each in reply.images]
    title = f"nearest of {reply.searched} training images, by {reply.feature_model}"
    output.table(("number#", "similarity#", "shows"), rows, title)


def _mixed(gan: v1.GanServiceStub, wish: Wish, donors: Sequence[v1.StyleDonor]) -> None:
    origin, name = wish.origin()
    target = Target.of(Path(f"face-{name}-mixed.png") if wish.out is None else wish.out)
    request = v1.MixRequest(model=wish.model, base=origin, donors=donors, options=_finished(wish, target))
    reply = gan.Mix(request)
    written = target.write(reply.image.image.data)
    _keep(wish, reply.image.code)
    _tell(wish, reply, reply.image.image, written, name)


def _sent(path: Path) -> Image:
    read = read_picture(path)
    assert read is not None, "there is a path"
    return read


def _finished(wish: Wish, target: Target) -> v1.SynthesisOptions:
    """The options with the file's format, and the code where it is to be kept."""
    chosen = v1.SynthesisOptions()
    chosen.CopyFrom(wish.options)
    chosen.output_format = target.format
    chosen.return_codes = wish.save_code is not None
    return chosen


def _tell(wish: Wish, reply: Any, image: Any, written: Path, name: str) -> None:
    """A table for people, the reply without its picture for programs."""
    milliseconds = reply.usage.compute_ms
    if wish.as_json:
        image.ClearField("data")
        output.message_json(reply)
        return
    size = f"{image.width} x {image.height}"
    output.table(("file", "pixels", "seed#", "ms#"), [(str(written), size, name, f"{milliseconds:.0f}")])
    if max(image.width, image.height) <= _SMALL:
        output.note("small pictures: --upscale enlarges them")


def _keep(wish: Wish, code: v1.LatentCode) -> None:
    if wish.save_code is not None:
        _write(wish.save_code, json_format.MessageToJson(code, indent=None).encode())


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as error:
        raise typer.BadParameter(f"{path} cannot be written: {error.strerror}") from None


def _check_folder(path: Path) -> None:
    """Before anything is asked for."""
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path} cannot be written: there is no folder {path.parent}")


@contextlib.contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar on the terminal from the first step on; what is yielded says how far it is."""
    console = output.error_console()
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=console.is_terminal, redirect_stdout=False)
    task = progress.add_task(what, total=total)

    def show(done: int) -> None:
        progress.start()
        progress.update(task, completed=done)

    try:
        yield show
    finally:
        if progress.live.is_started:
            progress.stop()
