"""The network of a pipeline: rows of any requests are one call of it."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence as Rows

import numpy as np
import torch
from torch import Tensor

from services.common.cuda_graphs import Record
from services.diffusion.engine import Question, Text
from services.diffusion.pipelines.parts.adapting import Loras
from services.diffusion.pipelines.parts.placing import Place
from services.diffusion.pipelines.parts.replayed import Network, Replayed
from services.diffusion.profile import Profile, measured
from services.diffusion.schedulers.levels import Array

_TRIED = (1, 2, 4, 8)


class TorchDenoiser:
    """Stacks rows, lends each its adapters, and asks once.

    Kernels are chosen by the number of rows, and round by their choice. Where every call has as many rows, a
    row's answer is the same to the bit in any company; see ``Placement.exact``.
    """

    def __init__(
        self, network: Network, place: Place, loras: Loras | None = None, record: Record | None = None
    ) -> None:
        """``record``: how calls become CUDA graphs, for a network whose weights stay where they are."""
        self._network = network
        self._plain = Replayed(network, record) if record else network
        self._place = place
        self._loras = loras
        self._sent: weakref.WeakKeyDictionary[Text, dict[str, Tensor]] = weakref.WeakKeyDictionary()
        self.rows = _TRIED[-1]
        self.profile = Profile(self.rows, {self.rows: 0.0})
        self._least = 1

    @property
    def is_recorded(self) -> bool:
        """Whether calls without adapters are CUDA graphs."""
        return isinstance(self._plain, Replayed) and self._plain.is_recording

    @torch.inference_mode()
    def predict(self, questions: Rows[Question]) -> Rows[Array]:
        """What the network says of each row, [channels, height, width]."""
        asked = len(questions)
        questions = [*questions, *[questions[0]] * (self._least - asked)]
        samples = torch.from_numpy(np.stack([each.sample for each in questions]))
        timesteps = torch.tensor([each.timestep for each in questions], dtype=torch.float32)
        texts = [self._on_device(each.text) for each in questions]
        inputs = {name: torch.stack([text[name] for text in texts]) for name in texts[0]}
        adapters = [each.adapters for each in questions]
        device, dtype = self._place.device, self._place.dtype
        ask = self._network if any(adapters) else self._plain
        with self._loras.lent(adapters) if self._loras else contextlib.nullcontext():
            said = ask(samples.to(device, dtype), timesteps.to(device), inputs)
        return list(said[:asked].float().cpu().numpy())

    def _on_device(self, text: Text) -> dict[str, Tensor]:
        """A text's inputs; they stay on the device as long as someone has the text."""
        if text not in self._sent:
            self._sent[text] = {
                name: torch.from_numpy(np.asarray(values)).to(self._place.device, self._place.dtype)
                for name, values in text.inputs.items()
            }
        return self._sent[text]

    def measure(self, question: Question, seconds: float, rows: int, is_exact: bool) -> None:
        """Set ``rows`` (unless they are given, not 0) and the profile, by calls with 1, 2, 4, 8 rows.

        No call is begun after so many ``seconds``; more rows than the memory holds are not tried again.
        """
        tried = (rows,) if rows else _TRIED
        self.profile = measured(
            lambda count: self.predict([question] * count), tried, seconds, torch.cuda.OutOfMemoryError
        )
        self.rows = self.profile.rows
        torch.cuda.empty_cache()  # of rows that did not fit; does nothing without a GPU
        self._least = self.rows if is_exact else 1
