"""Recipe dreambooth: teaches a diffusion model one subject, from a few pictures of it, under a rare word.

python -m services.finetune.recipes.dreambooth --images FOLDER --instance-prompt "sks person" \\
    --base models/peeps-diffusion/1 --clip models/peeps-clip/2 --work DIR --out STORE/NAME/VERSION

Ruiz et al., "DreamBooth", 2023, into low-rank factors (Hu et al., "LoRA", 2021) or, with --lora-rank 0, the
whole network. A picture's caption may lie beside it in a text file of its name. Every --checkpoint-every
steps leave a candidate with scores and previews in the work folder; the best is published. The same command
goes on where it was stopped; with --pick STEP it publishes another candidate.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from services.common.errors import ServiceError
from services.common.store import MANIFEST_NAME, Kind, Manifest
from services.finetune.recipes.base import Base, open_base
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.offering import Judged, Offers, run_offering
from services.finetune.recipes.candidates.publishing import publish_best
from services.finetune.recipes.choices.dreambooth import PERSON, PRESETS, Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.options import add_flags, add_preset, preset, read_flags
from services.finetune.recipes.personal.models.opening import open_tunable
from services.finetune.recipes.personal.photos import Photo, Subject, read_folder
from services.finetune.recipes.personal.scores.eye import Eye
from services.finetune.recipes.personal.training import Training
from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.task import Task
from services.finetune.recipes.version import Corpus, begin, finish, publish, reference_of
from services.finetune.recipes.watching import Alone, Watcher


class Personal:
    """One fine-tune: what it learns, and what its candidates are."""

    def __init__(self, subject: Subject, base: Base, work: Path, options: Options, watcher: Watcher) -> None:
        """Raises ValueError for a base that is none, and Stopped."""
        self.subject = subject
        self.base, self.options = base, options
        self._clip = ""
        self.training = Training(open_tunable(base, options), self.subject, options, work, watcher)
        if options.clip:
            self._clip = named(Path(options.clip))
            self.training.look_with(Eye(Path(options.clip), Device(options.device, options.threads).torch))
        bound = options.lasting | {"pictures": self.subject.digest, "base": base.identity}
        self.course = Resumable(work, self.training.parts, bound, options.seed, watcher=watcher)

    def train(self, offers: Offers) -> None:
        """Leave candidates in the work folder, and offer them. Raises ValueError, Stopped, Diverged."""
        self.course.resume()
        pace = Pace(self.options.steps, self.options.checkpoint_every)
        run_offering(self.course, pace, offers, self, self.training.learn)

    def judge(self) -> Judged:
        """See ``Trained``."""
        return self.training.judge()

    def write(self, folder: Path) -> None:
        """See ``Trained``."""
        model = self.training.model
        model.write(folder)
        config: dict[str, Any] = {
            "base": self.base.reference,
            "base_digest": self.base.digest,
            "instance_prompt": self.training.wording.instance,
            "class_prompt": self.training.wording.kind,
            "pictures": {"count": len(self.subject.learnt), "sha256": self.subject.digest},
            "training": asdict(replace(self.options, clip=self._clip)),
        }
        config |= model.described
        counted = f"{len(self.subject.learnt)} pictures of {self.training.wording.instance}"
        corpus = Corpus((), self.subject.about or counted, "")
        reference = self.base.reference
        publish(corpus, folder, model.kind, model.family, config, {}, "dreambooth", reference)


def named(folder: Path) -> str:
    """``name:version`` of the version in a folder; of another folder, its name."""
    return reference_of(folder) if (folder / MANIFEST_NAME).exists() else folder.name


def train(
    photos: Sequence[Photo], base: Base, work: Path, out: Path, options: Options, pick: int = 0
) -> Manifest:
    """Train, and publish the best candidate, or the one of step ``pick``, as the new version ``out``."""
    begin(out)
    personal = Personal(Subject.of(photos), base, work, options, Alone())
    personal.train(Offers(work, Alone(), options.keep_checkpoints, options.patience))
    figures = {"training_seconds": round(personal.course.seconds, 1)}
    return publish_best(Candidates(work), out, figures, personal.course.curve(), pick)


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    assert task.data is not None
    assert task.base is not None
    every = task.checkpoint_every or Options.checkpoint_every
    base = open_base(task.base, task.base_version, Kind.DIFFUSION)
    options = task.options(Options, checkpoint_every=every)
    if base.family != "unet":  # what looks at avatars knows no photographs
        options = replace(options, clip="")
    others = read_folder(task.validation, watcher.logged) if task.validation else ()
    subject = Subject.of(read_folder(task.data, watcher.logged), others, task.training_data)
    Personal(subject, base, task.work, options, watcher).train(Offers(task.work, watcher))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--images", type=Path, required=True, help="folder of the subject's pictures")
    options.add_argument("--base", type=Path, required=True, help="version, or folder of diffusers' format")
    options.add_argument("--work", type=Path, required=True, help="folder of checkpoints and candidates")
    options.add_argument("--out", type=Path, required=True, help="folder of the new version")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    options.add_argument("--pick", type=int, default=0, help="step of the candidate to publish (0: the best)")
    add_flags(options, preset(arguments, PRESETS, PRESETS[PERSON]))
    add_preset(options, PRESETS)
    chosen = options.parse_args(arguments)
    try:
        settings = read_flags(Options, chosen)
        photos = read_folder(chosen.images, Alone().logged)
        base = open_base(chosen.base, "", Kind.DIFFUSION)
        manifest = train(photos, base, chosen.work, chosen.out, settings, chosen.pick)
    except (ValueError, OSError, ServiceError) as error:
        options.exit(2, f"dreambooth: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
