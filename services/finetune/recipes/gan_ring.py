"""Recipe gan_ring: a GAN of eight Gaussians in a ring, to see its pitfalls and what is done about them.

python -m services.finetune.recipes.gan_ring --preset collapse [--counters off] [--work DIR]

Losses, steps, detectors and counters are those of recipe train_gan; a run takes seconds. The work folder
holds the curve, the events and the checkpoint; a run in the same folder goes on where one was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.average import Average
from services.finetune.recipes.device import Device
from services.finetune.recipes.gan import losses, ring
from services.finetune.recipes.gan.augmentation import Augmentation
from services.finetune.recipes.gan.contest import Contest, Round
from services.finetune.recipes.gan.pitfalls.events import Event
from services.finetune.recipes.gan.pitfalls.regime import Regime
from services.finetune.recipes.gan.pitfalls.watch import OFF, ON, Manner, Watch
from services.finetune.recipes.gan.sight import Figures
from services.finetune.recipes.measures.sets import Points
from services.finetune.recipes.measures.variety import Variety
from services.finetune.recipes.options import add_flags, add_preset, lasting, preset, read_flags
from services.finetune.recipes.resumable import Pace, Resumable, Stateful

_SEEN = 256
"""Points that a look is taken at."""
_COUNTED = 2000
"""Points that covered modes are counted of."""
_BETAS = (0.0, 0.99)
_R1_EVERY = 2
_DECAY = 0.98
"""Of the average of the generator's weights."""


@dataclass(frozen=True)
class Options:
    """A training; the defaults are those of a healthy one."""

    steps: int = 1200
    batch: int = 64
    rate: float = 3e-3
    critic_rate: float = 3e-3
    loss: str = losses.RELATIVISTIC
    r1: float = 0.3
    critic_steps: int = 1
    generator_steps: int = 1
    stddev: str = ON
    """``off``: the discriminator does not see how much a batch varies."""
    counters: str = ON
    """``off``: alarms are noted, nothing is done about them."""
    watch_every: int = 10
    grace: int = 200
    """Steps at the beginning in which little variety is no alarm."""
    look_every: int = 100
    seed: int = 1


PRESETS: Mapping[str, Options] = {
    "healthy": Options(),
    # The loss is flat where the discriminator is sure. It is sure soon: three steps for each of the
    # generator's, at a hundred times the rate, with no penalty on being steep. The generator has to be slow:
    # Adam divides by the size of the gradient, so that at a usual rate it leaves the flat on tiny gradients.
    "vanishing": Options(
        loss=losses.SATURATING, r1=0.0, rate=1e-4, critic_rate=1e-2, critic_steps=3, steps=1500
    ),
    # Five steps against a discriminator that stands still end at the point that it likes best, wherever they
    # begin (Metz et al., 2017); it then learns to dislike that point, and all move to the next. Nothing says
    # that a batch should vary: each example is judged alone, and no penalty keeps the landscape even.
    "collapse": Options(loss=losses.NON_SATURATING, r1=0.0, critic_rate=1e-3, generator_steps=5, stddev=OFF),
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    covered: int
    """Modes of 8 that the average generator makes."""
    last: dict[str, float]
    """The last line of the curve."""
    events: list[Event]
    made: Points


class Training:
    """What a step learns and what is measured of it."""

    def __init__(self, options: Options, work: Path) -> None:
        if options.loss not in losses.LOSSES:
            raise ValueError(f"loss is {options.loss!r}, one of {', '.join(losses.LOSSES)} is needed")
        device = Device("cpu", 1)
        torch.manual_seed(options.seed)
        self.generator, self._discriminator = ring.Generator(), ring.Discriminator()
        self.average = Average(self.generator, _DECAY)
        augmentation = Augmentation(0.0, ring.turned)
        makes, judges = (
            torch.optim.Adam(network.parameters(), betas=_BETAS, fused=True)
            for network in (self.generator, self._discriminator)
        )
        networks: dict[str, Stateful] = {
            "generator": self.generator,
            "discriminator": self._discriminator,
            "average": self.average,
            "augmentation": augmentation,
            "makes": makes,
            "judges": judges,
        }
        manner = Manner(options.watch_every, options.grace // options.watch_every, options.counters)
        self.watch = Watch(_regime(options), manner, networks, work)
        self.parts: dict[str, Stateful] = {**networks, "watch": self.watch}
        self._contest = Contest(
            self._discriminator, makes, judges, augmentation, device, _R1_EVERY, self._note
        )
        self._figures = Figures()
        real = ring.draw(_SEEN, torch.Generator().manual_seed(0))
        self._variety = Variety(real.numpy(), ring.centers().numpy())
        self._options = options

    def learn(self, step: int, _: np.random.Generator) -> Tensor:
        """One step of the training, by torch's random numbers."""
        loss = self._contest.step(step, self.watch.regime, self._deal)
        self.average.follow(self.generator, step)
        self.watch.after(step + 1, lambda: self._variety.of(made(self.generator, _SEEN)))
        return loss

    def measure(self) -> dict[str, float]:
        """What steps noted since the last time, and of what the average generator makes."""
        points = made(self.average.model, _COUNTED)
        return {
            **self._figures.read(),
            **self._variety.of(points[:_SEEN]),
            "covered": float(ring.covered(points)),
        }

    def _deal(self) -> Round:
        batch = self._options.batch
        return Round(ring.draw(batch), self.generator(torch.randn(batch, ring.LATENT)), self._discriminator)

    def _note(self, figures: Mapping[str, Tensor]) -> None:
        self._figures.note(figures)
        self.watch.note(figures)


def _regime(options: Options) -> Regime:
    return Regime(
        options.loss,
        options.r1,
        options.rate,
        options.critic_rate,
        critic_steps=options.critic_steps,
        generator_steps=options.generator_steps,
        compares=options.stddev == ON,
    )


@torch.no_grad()
def made(generator: torch.nn.Module, count: int) -> Points:
    """[count, 2] of a generator, the same for the same weights."""
    points: Tensor = generator(torch.randn(count, ring.LATENT, generator=torch.Generator().manual_seed(0)))
    return points.numpy()


def train(work: Path, options: Options) -> Outcome:
    """A run in the folder ``work``. Raises ValueError for a folder of other options."""
    training = Training(options, work)
    course = Resumable(work, training.parts, lasting(options), options.seed)
    course.resume()
    training.watch.begin(course.step)
    course.run(Pace(options.steps, options.look_every), training.learn, lambda _: training.measure())
    last = course.curve()[-1]
    return Outcome(
        int(last["covered"]), last, training.watch.journal.events, made(training.average.model, _COUNTED)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    add_preset(parser, PRESETS)
    parser.add_argument("--work", type=Path, help="folder of curve, events and checkpoint (a temporary one)")
    add_flags(parser, preset(arguments, PRESETS, Options()))
    chosen = parser.parse_args(arguments)
    folder = nullcontext(chosen.work) if chosen.work else tempfile.TemporaryDirectory()
    try:
        with folder as work:
            outcome = train(Path(work), read_flags(Options, chosen))
    except (ValueError, OSError) as error:
        parser.exit(2, f"gan_ring: {error}\n")
    for event in outcome.events:
        why = json.dumps({name: event.figures[name] for name in event.signs})
        sys.stdout.write(f"step {event.step:5} {event.pitfall:18} {event.what:9} {event.action:22} {why}\n")
    sys.stdout.write(f"modes covered: {outcome.covered} of {ring.MODES}\n")


if __name__ == "__main__":
    main()
