"""What can be chosen about a language model and its training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.finetune.recipes.options import lasting, within

_PASSING = frozenset({"threads", "device", "save_every", "evaluate_every", "at_once", "baseline_order"})


@dataclass(frozen=True)
class Options:
    """Shape and training; the defaults are those of the shipped ``storyteller``."""

    vocabulary: int = within(8192, 260, 65_000)
    width: int = within(256, 8, 16_384)
    hidden: int = within(576, 8, 65_536)
    layers: int = within(6, 1, 128)
    heads: int = within(4, 1, 256)
    kv_heads: int = within(2, 1, 256)
    window: int = within(512, 8, 32_768)
    """Tokens of context, in training and afterwards."""
    steps: int = 1840
    batch: int = within(12, 1, 65_536)
    """Windows in a step."""
    at_once: int = within(2, 1, 65_536)
    """Windows in the network together: on a CPU few, so that they stay near it."""
    muon_rate: float = within(0.02, 0.0, 1.0)
    """Peak rate of the layers' matrices."""
    adam_rate: float = within(0.005, 0.0, 1.0)
    """Peak rate of everything else."""
    warm_up: int = within(100, 1, 1_000_000)
    decay: float = within(0.1, 0.0, 10.0)
    """Weight decay of the layers' matrices."""
    save_every: int = 20
    evaluate_every: int = within(200, 1, 1_000_000)
    seed: int = 1
    threads: int = 1
    device: str = "cpu"
    """Where it trains: auto, cpu or cuda. A network of the default size keeps no GPU busy."""
    baseline_order: int = within(5, 1, 9)
    """The longest n-grams that the result is compared with."""

    def __post_init__(self) -> None:
        """Raises ValueError for sizes that make no network."""
        if self.width % (2 * self.heads) or self.heads % self.kv_heads:
            raise ValueError(
                f"width {self.width} must be a multiple of twice the {self.heads} heads, "
                f"which must be a multiple of the {self.kv_heads} kv_heads"
            )

    @property
    def lasting(self) -> dict[str, Any]:
        """The options that a checkpoint cannot change under."""
        return lasting(self, _PASSING)
