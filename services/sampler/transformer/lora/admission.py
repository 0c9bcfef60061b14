"""Whether an adapter may be used with a model, asked before its request waits for a step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from services.common.lora import Adapter
from services.sampler.engine import Adapter as AnyAdapter
from services.sampler.transformer.lora.linears import Linears


@dataclass(frozen=True)
class Admission:
    """See ``services.sampler.engine.Adapters``."""

    linears: Linears
    make_ready: Callable[[], None]
    """Opens what steps with adapters need, if it is not open yet."""

    def admit(self, adapter: AnyAdapter) -> None:
        """Raises INVALID_ARGUMENT when the adapter is not for this model; may take a while the first time."""
        assert isinstance(adapter, Adapter)  # the loader makes no others
        self.linears.check(adapter)
        self.make_ready()
