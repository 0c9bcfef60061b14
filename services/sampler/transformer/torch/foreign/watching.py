"""What happens to a prompt inside a model of Transformers, seen by hooks during one pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from services.common.errors import unsupported


def blocks_of(model: Any, count: int) -> Sequence[nn.Module]:
    """The model's layers. UNSUPPORTED where no list of modules has ``count``."""
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    blocks = next((found for found in lists if len(found) == count), None)
    if blocks is None:
        raise unsupported(f"where the layers of {model.config.model_type!r} are is not known here")
    return list(blocks)


class Watch:
    """Notes what enters each block, what leaves the last one, and which module takes that next: the norm."""

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module]) -> None:
        self.entered: list[Tensor] = []
        self.left: Tensor = torch.empty(0)
        self.norm: nn.Module | None = None
        self._model, self._blocks = model, blocks
        self._hooks: list[Any] = []

    def __enter__(self) -> Watch:
        first = {"with_kwargs": True}
        self._hooks = [block.register_forward_pre_hook(self._enter, **first) for block in self._blocks]
        self._hooks.append(self._blocks[-1].register_forward_hook(self._leave))
        others = [module for module in self._model.modules() if module not in set(self._blocks)]
        self._hooks += [module.register_forward_pre_hook(self._follow) for module in others]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, block: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.entered.append(given[0] if given else named["hidden_states"])

    def _leave(self, block: nn.Module, given: Any, result: Any) -> None:
        self.left = result[0] if isinstance(result, tuple) else result

    def _follow(self, module: nn.Module, given: tuple[Any, ...]) -> None:
        if self.norm is None and given and given[0] is self.left:
            self.norm = module


def read_out(model: Any, norm: nn.Module | None, states: Tensor) -> Tensor | None:
    """Logits of states [states, hidden_size] by the model's norm and head; None where it has no such."""
    head = model.get_output_embeddings()
    if norm is None or head is None:
        return None
    logits: Tensor = head(norm(states))
    return _finished(model.config.get_text_config())(logits)


def _finished(config: Any) -> Callable[[Tensor], Tensor]:
    """What is done to logits after the head, by the names that configurations have for it."""
    cap = getattr(config, "final_logit_softcapping", None)
    factor = getattr(config, "logit_scale", None) or 1.0
    factor /= getattr(config, "logits_scaling", None) or 1.0

    def finish(logits: Tensor) -> Tensor:
        logits = logits * factor
        return logits if not cap else torch.tanh(logits / cap) * cap

    return finish
