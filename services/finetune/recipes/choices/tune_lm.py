"""What can be chosen about the fine-tune of a language model: of low-rank factors, or of all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.finetune.recipes.options import Run, among, lasting, switch, within, words

_PASSING = frozenset(
    {"threads", "device", "prompts", "preview_tokens", "checkpoint_every", "keep_checkpoints", "patience"}
)
"""What changes no weight of any step."""
AUTO = "auto"


@dataclass(frozen=True)
class Options(Run):
    """Data, training, checkpoints."""

    steps: int = 300
    batch: int = within(8, 1, 65_536)
    """Rows in a step."""
    at_once: int = within(4, 1, 65_536)
    """Rows in the network together."""
    window: int = within(256, 8, 1_000_000)
    """Tokens of a row; texts that are longer are cut, shorter ones share a row and do not see each other."""
    rate: float = within(2e-5, 0.0, 1.0)
    warm_up: int = within(10, 0, 1_000_000)
    decay: float = within(0.0, 0.0, 10.0)
    """Weight decay."""
    held_out: float = within(0.05, 0.0, 0.5)
    """Share of the texts that is measured on; at least one."""
    measured_rows: int = within(32, 1, 100_000)
    """Rows of what is held out that are measured."""
    precision: str = among(AUTO, AUTO, "fp32", "bf16")
    """Of the weights that do not change; auto: bf16 on a GPU, where only factors are trained."""
    recompute: bool = switch(False)
    """Whether layers are run again on the way back, which saves memory for time."""
    prompts: str = words("", 4000)
    """Of the previews, between bars, of conversations what a user says; "": as held-out texts begin."""
    preview_tokens: int = within(40, 1, 4096)
    checkpoint_every: int = 50
    keep_checkpoints: int = 5
    """Of so many of the best the files stay."""
    patience: int = 0
    """Checkpoints without a better one after which the training ends; 0: never."""

    def __post_init__(self) -> None:
        """Raises ValueError for no steps."""
        if min(self.steps, self.checkpoint_every, self.keep_checkpoints) < 1 or self.patience < 0:
            raise ValueError("steps, checkpoint_every and keep_checkpoints begin at 1, patience at 0")

    @property
    def lasting(self) -> dict[str, Any]:
        """The options that a checkpoint cannot change under."""
        return lasting(self, _PASSING)


@dataclass(frozen=True)
class FullOptions(Options):
    """Of recipe full_lm."""


@dataclass(frozen=True)
class LoraOptions(Options):
    """Of recipe lora_lm."""

    rate: float = within(1e-3, 0.0, 1.0)
    lora_rank: int = within(8, 1, 1024)
    lora_alpha: int = within(16, 1, 65_536)
    """The factors' product is multiplied by alpha / rank."""
    lora_targets: str = words(AUTO, 1000)
    """Names of the layers that factors are for, between commas; auto: every linear one but the last."""
    lora_dropout: float = within(0.0, 0.0, 0.9)
