"""What can be chosen about a personal fine-tune, and the presets of what is learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.finetune.recipes.options import Run, lasting, switch, within, words

_PASSING = frozenset({"threads", "device", "clip", "checkpoint_every", "keep_checkpoints", "patience"})
"""What changes no weight of any step."""
SLOT = "{}"
"""Where the instance prompt goes in a preview's."""


@dataclass(frozen=True)
class Options(Run):
    """Words, training, checkpoints; the defaults were found on five avatars, eight views each."""

    instance_prompt: str = words("sks person", 200)
    """What the subject will be asked for as: a rare word, and what it is."""
    class_prompt: str = words("", 200)
    """What it is; "": the instance prompt without its first word."""
    prompts: str = words("{}|{} with a hat|smiling {}|angry {}|{}, red shirt|{} with sunglasses", 2000)
    """Of the previews, between bars; {} stands for the instance prompt."""
    size: int = within(0, 0, 4096)
    """Pixels of a side; 0: the model's own. Models of pixels have no other."""
    lora_rank: int = within(8, 0, 128)
    """0 trains the whole network."""
    steps: int = 300
    batch: int = within(4, 1, 256)
    """Pictures of the subject in a step."""
    prior_batch: int = within(4, 1, 256)
    """Pictures of the class in a step."""
    prior_images: int = within(64, 4, 10_000)
    """Pictures of the class that the model makes itself before the first step."""
    prior_weight: float = within(1.0, 0.0, 10.0)
    """Of their loss beside the subject's; 0 learns from the subject alone."""
    rate: float = within(0.0, 0.0, 0.1)
    """0: what suits the model, and whether factors or all of it are trained."""
    warm_up: int = within(20, 0, 100_000)
    average: float = within(0.0, 0.0, 0.9999)
    """Decay of the average that is kept of the weights; 0: the weights themselves."""
    flip: float = within(0.0, 0.0, 1.0)
    """Chance that a picture is mirrored: not for faces that are not alike on both sides, nor for writing."""
    recompute: bool = switch(False)
    """Whether layers are run again on the way back, which saves memory for time; of diffusers' networks."""
    clip: str = ""
    """Folder of a text-image embedder that looks at previews; "": their scores are left out."""
    checkpoint_every: int = 50
    keep_checkpoints: int = 5
    """Of so many of the best the files stay."""
    patience: int = 0
    """Checkpoints without a better one after which the training ends; 0: never."""

    def __post_init__(self) -> None:
        """Raises ValueError for words that do not do, and for no steps."""
        if min(self.steps, self.checkpoint_every, self.keep_checkpoints) < 1 or self.patience < 0:
            raise ValueError("steps, checkpoint_every and keep_checkpoints begin at 1, patience at 0")
        if not self.instance_prompt.strip():
            raise ValueError("instance_prompt is empty; 'sks person' is one")
        if not self.class_prompt.strip() and len(self.instance_prompt.split()) < 2:
            raise ValueError(f"instance_prompt {self.instance_prompt!r} is one word: say class_prompt too")
        if bare := [each for each in self.prompts.split("|") if SLOT not in each]:
            raise ValueError(f"prompts: {bare[0]!r} has no {SLOT}, where the instance prompt goes")

    @property
    def lasting(self) -> dict[str, Any]:
        """The options that a checkpoint cannot change under."""
        return lasting(self, _PASSING)


PERSON = "person"
PRESETS: Mapping[str, Options] = {
    PERSON: Options(),
    "object": Options(
        instance_prompt="sks object",
        prompts="{}|{} on a table|{} in the snow|{}, blue background|{} in a hand|{} made of glass",
        flip=0.5,
    ),
    "style": Options(
        instance_prompt="sks style",
        prompts="{}|a person, {}|a person with a hat, {}|a face, {}|a smiling person, {}|a landscape, {}",
        flip=0.5,
    ),
}
