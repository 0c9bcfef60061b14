"""Recipe train_gan: avatars from a latent vector and attributes, in one pass.

python -m services.finetune.recipes.train_gan --data var/peeps --work DIR --out STORE/NAME/VERSION

A StyleGAN2-like pair of networks with R1 at times (Karras et al., 2020; Mescheder et al., 2018), attributes
that are left out at random, so that any of them or none can be asked for, augmentations as often as needed
(Karras et al., "ADA", 2020) and the average of the generator's weights. The folders come from recipe
draw_peeps. The same command goes on where it was stopped.

The training watches for a vanishing gradient and for a mode collapse and counters them; what happened stands
in the work folder's ``events.jsonl`` and in the version. ``--preset vanishing`` and ``--preset collapse``
cause them, at 16 pixels in a minute; ``--counters off`` lets them be.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from services.common.store import Kind, Manifest
from services.finetune.recipes.average import halves
from services.finetune.recipes.gan import companions
from services.finetune.recipes.gan.alarms import tell
from services.finetune.recipes.gan.options import PASSING, PRESETS, Options
from services.finetune.recipes.gan.training import COLUMNS, Training
from services.finetune.recipes.options import add_preset, lasting, preset, read_flags
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import save_sheet
from services.finetune.recipes.peeps.uploaded import Sets
from services.finetune.recipes.peeps.vector import VOCABULARY
from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.version import Corpus, begin, finish, manifest_of, publish
from services.finetune.recipes.watching import Watcher


def train(
    data: Peeps,
    held_out: Peeps,
    work: Path,
    out: Path,
    options: Options,
    watcher: Watcher | None = None,
) -> Manifest:
    """Train into the new version ``out``. Raises ValueError for a work folder of other options."""
    begin(out)
    training = Training(data, held_out, work, options)
    course = Resumable(
        work,
        training.parts,
        lasting(options, PASSING),
        options.seed,
        before=lasting(Options(), PASSING),  # what options that came later are by default, was so before
        watcher=watcher,
    )
    if watcher is not None:
        training.watch.journal.tell = partial(tell, watcher)
    course.resume()
    training.watch.begin(course.step)

    def look(step: int) -> dict[str, float]:
        save_sheet(training.previews(), work / f"previews-{step:06d}.png", COLUMNS, enlarge=2)
        return {"pictures_seen": float(step * options.batch), **training.measure()}

    course.run(Pace(options.steps, options.look_every), training.learn, look)
    features = Path(options.clip) if options.clip else None
    return _publish(training, out, options, course, companions.Sources(data, held_out, features))


def _publish(
    training: Training, out: Path, options: Options, course: Resumable, sources: companions.Sources
) -> Manifest:
    training.set_mean()
    save_file(training.average.halves(), out / "generator.safetensors")
    save_file(halves(training.discriminator), out / "discriminator.safetensors")
    known, measured = companions.write(out, training.average.model, sources)
    curve = course.curve()
    metrics = {
        "pictures_seen": curve[-1]["pictures_seen"],
        "variety": curve[-1]["variety"],
        "generator_parameters": _parameters(training.generator),
        "discriminator_parameters": _parameters(training.discriminator),
        "training_seconds": round(course.seconds, 1),
        **measured,
    }
    config = {
        **known,
        "stylegan": json.loads(json.dumps(asdict(training.config))),
        "attributes": [list(each) for each in VOCABULARY],
        "scores": training.scores(),
        "training": asdict(options),
        "curve": curve,
        "events": training.watch.journal.plain(),
    }
    return publish(Corpus((), TRAINING_DATA), out, Kind.GAN, "stylegan", config, metrics, "train_gan")


def _parameters(model: nn.Module) -> float:
    return float(sum(each.numel() for each in model.parameters()))


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    out = task.candidate(task.steps)
    if not is_whole(out):
        data = Sets.of(task)
        train(data.learnt, data.held_out, task.work, out, task.options(Options), watcher)
    offer_result(watcher, task.steps, out, manifest_of(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, preset(arguments, PRESETS, Options()))
    add_preset(options, PRESETS)
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        manifest = train(Peeps(chosen.data), Peeps(chosen.held_out), chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"train_gan: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
