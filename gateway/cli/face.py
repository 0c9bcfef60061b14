"""``pequod face``: faces that do not exist, walks between them, and what a generator makes of a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import faces, wishes
from gateway.cli.connection import connect
from gateway.cli.wishes import Space, Wish

_TIMEOUT = 3600.0  # seconds; a long walk with enlarged frames takes its time
_MOST = 2**32 - 1  # of a uint32
_MOST_SEED = 2**64 - 1


def face(
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="File to write: .png, .jpg or .webp; of a walk .webp or .gif."),
    ] = None,
    model: Annotated[str, typer.Option(help="Model reference. Default: the service's default model.")] = "",
    seed: Annotated[
        int | None,
        typer.Option(help="The same seed gives the same face. Default: drawn.", min=0, max=_MOST_SEED),
    ] = None,
    n: Annotated[int, typer.Option("--n", help="Faces, side by side in one file.", min=1, max=_MOST)] = 1,
    attributes: Annotated[
        list[str] | None,
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="What the face is to have: glasses=round. May be repeated; an unknown one lists the known.",
        ),
    ] = None,
    psi: Annotated[
        float | None,
        typer.Option(help="How far from the mean face, -2 to 2. Default: the model's."),
    ] = None,
    cutoff: Annotated[
        int, typer.Option(help="Layers that --psi counts for, from the coarsest; 0: all.", min=0, max=_MOST)
    ] = 0,
    noise_seed: Annotated[
        int | None, typer.Option(help="Seed of the fine grain. Default: the face's.", min=0, max=_MOST_SEED)
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Strength of the fine grain, 0 to 1. Default: 1.")
    ] = None,
    upscale: Annotated[
        bool, typer.Option("--upscale", help="Enlarge four times, by an upscaler network.")
    ] = False,
    factor: Annotated[
        int, typer.Option(help="Enlarge so many times: 1, 2 or 4. Default: 1.", min=0, max=_MOST)
    ] = 0,
    walk: Annotated[
        int, typer.Option(metavar="FRAMES", help="A moving picture from face to face.", min=0, max=_MOST)
    ] = 0,
    stops: Annotated[
        int, typer.Option(help="Faces that a --walk passes, back to the first.", min=2, max=_MOST)
    ] = 4,
    space: Annotated[
        Space, typer.Option(help="Space that a --walk goes through: w in straight lines, z on circles.")
    ] = Space.W,
    rate: Annotated[int, typer.Option(help="Frames a second of a --walk.", min=1, max=_MOST)] = 20,
    project: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Find the face that is nearest to a picture.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Steps of --project. Default: 100.", min=0, max=_MOST)
    ] = None,
    score: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What the discriminator thinks of a picture. May be repeated."),
    ] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SEED=LAYERS",
            help="Take layers from another face: 7=0-2 or 7=0,3; 0 is the coarsest. May be repeated.",
        ),
    ] = None,
    edit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=AMOUNT",
            help="Move along a direction: smiling=2, expression:sad=-1. May be repeated.",
        ),
    ] = None,
    nearest: Annotated[
        bool,
        typer.Option("--nearest", help="Which training images are nearest to the face."),
    ] = False,
    nearest_to: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Which training images are nearest to a picture.")
    ] = None,
    code: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Begin from a latent code that --save-code wrote."),
    ] = None,
    save_code: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the face's latent code, as JSON.")
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the reply as protobuf JSON; pictures are in the files."),
    ] = False,
) -> None:
    """Draw a face, or with --walk, --project, --score, --mix, --edit or --nearest what they say.

    Default of -o: face-SEED.png, walk-SEED.webp, FILE-projected.png.
    """
    wish = Wish(
        model=model,
        out=out,
        seed=seed,
        n=n,
        options=wishes.options(attributes or (), psi, cutoff, noise_seed, noise, 4 if upscale else factor),
        code=None if code is None else wishes.read_code(code),
        save_code=save_code,
        as_json=as_json,
    )
    chosen = wishes.choose(
        {
            "--walk": bool(walk),
            "--project": project is not None,
            "--score": bool(score),
            "--mix": bool(mix),
            "--edit": bool(edit),
            "--nearest": nearest or nearest_to is not None,
        }
    )
    with connect(_TIMEOUT) as client:
        gan = client.gan
        if chosen == "--walk":
            faces.walk(gan, wish, walk, stops, space, rate)
        elif project is not None:
            faces.project(gan, wish, project, steps)
        elif chosen == "--score":
            faces.score(gan, wish, score or ())
        elif chosen == "--mix":
            faces.mix(gan, wish, mix or ())
        elif chosen == "--edit":
            faces.edit(gan, wish, edit or ())
        elif chosen == "--nearest":
            faces.nearest(gan, wish, nearest_to)
        else:
            faces.sample(gan, wish)
