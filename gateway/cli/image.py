"""``pequod image``, ``upscale`` and ``ladder``: pictures from texts, larger ones, and noise step by step."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.connection import connect
from gateway.cli.painting import Painting
from gateway.cli.pictures import Target, read_picture, sheet
from gateway.cli.text import read
from pequod.diffusion.v1 import (
    AdapterScale,
    GenerateRequest,
    GenerateResponse,
    NoiseLadderRequest,
    NoiseLadderResponse,
    NoiseSource,
    Scheduler,
    UpscaleRequest,
)

_TIMEOUT = 3600.0  # seconds; a large model on a CPU takes its time
_PREVIEWS = 50
"""Most previews of an image."""
_SMALL = 64
"""Pixels a side up to which a picture is so small that larger ones are spoken of."""
_MOST = 2**32 - 1  # of a uint32
_MOST_SEED = 2**64 - 1


class SchedulerChoice(enum.StrEnum):
    """How steps are taken, by the names of the field."""

    DDPM = "ddpm"
    DDIM = "ddim"
    EULER = "euler"
    EULER_ANCESTRAL = "euler_ancestral"
    HEUN = "heun"
    DPMPP_2M = "dpmpp_2m"
    DPMPP_2M_KARRAS = "dpmpp_2m_karras"
    LCM = "lcm"
    FLOW_EULER = "flow_euler"


class NoiseChoice(enum.StrEnum):
    """Where noise comes from."""

    PHILOX = "philox"
    TORCH = "torch"


Model = Annotated[str, typer.Option(help="Model reference. Default: the service's default model.")]
Out = Annotated[
    Path | None,
    typer.Option("-o", "--out", help="File to write: .png, .jpg or .webp; one that exists is replaced."),
]
Seed = Annotated[
    int | None,
    typer.Option(help="The same seed gives the same picture. Default: drawn.", min=0, max=_MOST_SEED),
]
Guidance = Annotated[
    float | None, typer.Option(help="How strongly the prompt steers; 1 is no guidance, at half the cost.")
]
Rng = Annotated[
    NoiseChoice | None, typer.Option(help="Where noise comes from; torch draws as diffusers does.")
]


def image(
    prompt: Annotated[str, typer.Argument(help="What to show; - reads standard input.")],
    out: Out = None,
    model: Model = "",
    negative: Annotated[str, typer.Option(help="What not to show.")] = "",
    seed: Seed = None,
    steps: Annotated[
        int | None, typer.Option(help="Denoising steps. Default: the model's.", min=0, max=_MOST)
    ] = None,
    guidance: Guidance = None,
    scheduler: Annotated[
        SchedulerChoice | None, typer.Option(help="How steps are taken. Default: the model's.")
    ] = None,
    eta: Annotated[float | None, typer.Option(help="Share of fresh noise in ddim, 0 to 1.")] = None,
    n: Annotated[
        int, typer.Option("--n", help="Pictures to make; they have seeds SEED, SEED + 1 …", min=1, max=_MOST)
    ] = 1,
    best_of: Annotated[
        int, typer.Option(help="Make so many and keep the --n that fit the prompt best.", min=0, max=_MOST)
    ] = 0,
    width: Annotated[
        int, typer.Option(help="Pixels before enlarging. Default: the model's.", min=0, max=_MOST)
    ] = 0,
    height: Annotated[
        int, typer.Option(help="Pixels before enlarging. Default: the model's.", min=0, max=_MOST)
    ] = 0,
    upscale: Annotated[
        int,
        typer.Option(help="Enlarge so many times, by an upscaler network: 1, 2 or 4.", min=1, max=_MOST),
    ] = 1,
    upscaler: Annotated[str, typer.Option(help="Reference of the upscaler. Default: the service's.")] = "",
    init: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Picture to begin from in place of noise.")
    ] = None,
    strength: Annotated[
        float | None, typer.Option(help="How far from --init to go, above 0, at most 1, which keeps nothing.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="White where to paint anew; the rest of --init stays as it is."),
    ] = None,
    adapter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=SCALE]",
            help="Adapter to apply, a model reference, and its weight: my-style:2=0.8. May be repeated.",
        ),
    ] = None,
    rng: Rng = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show the pictures in the terminal while they are painted.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the replies as protobuf JSON, one a line; the pictures are in the files."
        ),
    ] = False,
) -> None:
    """Paint what PROMPT says, and write it to a file with its settings in the PNG's metadata.

    Default of -o: image-SEED.png. Several pictures have -o's name with their number: out-1.png, out-2.png.
    """
    target = Target.of(out, n, "image-{seed}.png")
    shows = preview and not as_json and output.error_console().is_terminal
    request = GenerateRequest(
        model=model,
        prompt=read(prompt),
        negative_prompt=negative,
        guidance_scale=guidance,
        steps=steps,
        seed=seed,
        n=n,
        width=width,
        height=height,
        scheduler=_scheduler(scheduler),
        eta=eta,
        init_image=read_picture(init),
        strength=strength,
        mask=read_picture(mask),
        adapters=[_adapter(each) for each in adapter or ()],
        upscale_factor=upscale,
        upscaler=upscaler,
        best_of=best_of,
        preview_every=max((steps or 0) // _PREVIEWS, 1) if shows else 0,
        rng=_noise(rng),
        output_format=target.format,
    )
    with connect() as client:
        replies = client.diffusion.Generate(request, timeout=_TIMEOUT)
        if as_json:
            _print_replies(replies, target)
        else:
            _paint(replies, target, max(n, best_of))


def upscale(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The picture to enlarge.")],
    out: Out = None,
    factor: Annotated[int, typer.Option(help="How many times larger: 2 or 4.", min=1, max=_MOST)] = 2,
    model: Annotated[str, typer.Option(help="Reference of the upscaler. Default: the service's.")] = "",
    as_json: output.Json = False,
) -> None:
    """Enlarge a picture by an upscaler network. Default of -o: FILE-2x.png."""
    usual = file.with_name(f"{file.stem}-{factor}x.png")
    target = Target.of(usual if out is None else out)
    request = UpscaleRequest(
        model=model, image=read_picture(file), factor=factor, output_format=target.format
    )
    with connect(_TIMEOUT) as client:
        reply = client.diffusion.Upscale(request)
    written = target.write(reply.image.data)
    if as_json:
        reply.image.ClearField("data")
        output.message_json(reply)
        return
    size, seconds = f"{reply.image.width} x {reply.image.height}", f"{reply.usage.compute_ms / 1e3:.2f}"
    output.table(("file", "pixels", "seconds#"), [(str(written), size, seconds)])


def ladder(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The picture, level 0.")],
    out: Out = None,
    rungs: Annotated[
        int, typer.Option(help="Levels to show, from the picture to the noisiest.", min=2, max=_MOST)
    ] = 8,
    prompt: Annotated[str, typer.Option(help="What the network is told the picture shows.")] = "",
    guidance: Guidance = None,
    seed: Seed = None,
    rng: Rng = None,
    model: Model = "",
    as_json: output.Json = False,
) -> None:
    """Draw a picture at rising levels of noise, and what the network makes of each.

    Three rows: the picture with noise, the network's step back, the clean picture it predicts. Default of
    -o: FILE-ladder.png.
    """
    target = Target.of(file.with_name(f"{file.stem}-ladder.png") if out is None else out)
    request = NoiseLadderRequest(
        model=model,
        image=read_picture(file),
        rungs=rungs,
        prompt=prompt,
        guidance_scale=guidance,
        seed=seed,
        rng=_noise(rng),
    )
    with connect(_TIMEOUT) as client:
        reply = client.diffusion.NoiseLadder(request)
    if as_json:
        output.message_json(reply)
        return
    written = target.write(sheet(_rows(reply), target.format))
    shares = [(f"{each.level}", f"{each.signal:.3f}", f"{each.noise:.3f}") for each in reply.rungs]
    output.table(("level#", "picture#", "noise#"), shares)
    output.write(f"{written}, seed {reply.seed}\n")


def _paint(replies: Iterable[GenerateResponse], target: Target, count: int) -> None:
    """Follow the work on the terminal; what was written is told even when the rest fails."""
    began = time.monotonic()
    rows: list[tuple[str, ...]] = []
    side = _SMALL + 1
    columns = ("file", "pixels", "seed#", "fits#", "seconds#")
    try:
        with Painting(count) as painting:
            for reply in replies:
                painting.follow(reply)
                if not reply.HasField("image"):
                    continue
                made = reply.image
                written = target.write(made.image.data, made.index + 1, made.seed)
                score = f"{made.score:.3f}" if made.HasField("score") else ""
                size = f"{made.image.width} x {made.image.height}"
                rows.append((str(written), size, f"{made.seed}", score, f"{time.monotonic() - began:.1f}"))
                side = max(made.image.width, made.image.height)
    finally:
        if rows:
            kept = [place for place, name in enumerate(columns) if name != "fits#" or rows[0][place]]
            output.table([columns[at] for at in kept], [[row[at] for at in kept] for row in rows])
    if side <= _SMALL:
        output.note("small pictures: --upscale 4 enlarges them")


def _print_replies(replies: Iterable[GenerateResponse], target: Target) -> None:
    for reply in replies:
        if reply.HasField("image"):
            target.write(reply.image.image.data, reply.image.index + 1, reply.image.seed)
            reply.image.image.ClearField("data")
        output.message_json(reply)


def _rows(reply: NoiseLadderResponse) -> dict[str, list[bytes]]:
    """The three rows of a ladder's sheet; level 0 has nothing below it."""
    return {
        "noisy": [each.noisy.data for each in reply.rungs],
        "step back": [each.step_back.data for each in reply.rungs],
        "predicted": [each.predicted.data for each in reply.rungs],
    }


def _adapter(given: str) -> AdapterScale:
    """``NAME[=SCALE]``; a reference has colons of its own."""
    name, sign, scale = given.rpartition("=")
    if not sign:
        return AdapterScale(adapter=given)
    try:
        value = float(scale)
    except ValueError:
        value = math.nan
    if not name or math.isnan(value):
        raise typer.BadParameter(f"{given!r} is no NAME or NAME=SCALE, for example my-style:2=0.8")
    return AdapterScale(adapter=name, scale=value)


def _scheduler(choice: SchedulerChoice | None) -> Scheduler.ValueType:
    return Scheduler.Value(f"SCHEDULER_{'UNSPECIFIED' if choice is None else choice.name}")


def _noise(choice: NoiseChoice | None) -> NoiseSource.ValueType:
    return NoiseSource.Value(f"NOISE_SOURCE_{'UNSPECIFIED' if choice is None else choice.name}")
