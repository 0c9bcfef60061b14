"""Pictures of the class that the model makes itself before it learns: what it is to stay able to do.

Ruiz et al., "DreamBooth", 2023, section 3.2. They lie in the work folder, a file for a few, so that a
training that was stopped meanwhile goes on with the next.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from services.finetune.recipes.peeps.pictures import pictures, pixels
from services.finetune.recipes.personal.models.tunable import Tunable
from services.finetune.recipes.watching import Stopped, Watcher

_AT_ONCE = 8
STEPS = 10
"""Of each picture: half of what requests get, so that making them stays a small part of a training."""
_FIRST_SEED = 1_000_000
"""Far from the seeds that previews have."""


def made(model: Tunable, prompt: str, count: int, work: Path, watcher: Watcher) -> Tensor:
    """[count, 3, size, size] from -1 to 1, of whole seeds each. The model must not have learnt yet.

    Raises Stopped when the watcher wants it; what was made stays.
    """
    folder = work / "prior"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for begin in range(0, count, _AT_ONCE):
        if watcher.wants_stop():
            raise Stopped(f"stopped after {begin} of {count} pictures of the class")
        places = range(begin, min(begin + _AT_ONCE, count))
        file = folder / f"{places.start:05d}-{places.stop:05d}.npy"
        if not file.exists():
            painted = model.painted([prompt] * len(places), [_FIRST_SEED + each for each in places], STEPS)
            partial = file.with_suffix(".partial")
            with partial.open("wb") as opened:
                np.save(opened, pixels(painted))
            partial.replace(file)
        parts.append(pictures(np.load(file)))
        watcher.progressed(places.stop, count, "pictures of the class")
    return torch.cat(parts)
