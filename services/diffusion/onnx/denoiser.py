"""The network of a model of pixels, by ONNX Runtime: rows of any requests are one call of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Rows
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.common.runtimes import Runtime
from services.diffusion.adapters.stacks import Stacks
from services.diffusion.engine import Question
from services.diffusion.profile import Profile, measured
from services.diffusion.schedulers.levels import Array

OUTPUT = "output"
TRIED = (1, 2, 4, 8, 16)
_PROFILE_SECONDS = 4.0


class OnnxDenoiser:
    """Implements ``services.diffusion.engine.Denoiser``.

    Rows without adapters have a graph of their own, for that is faster. In the other one a row whose
    selection is all 0 gets the same to the bit.
    """

    def __init__(self, plain: Runtime, open_adapted: Callable[[], Runtime], stacks: Stacks) -> None:
        self._plain = plain
        self._open_adapted = open_adapted
        self._stacks = stacks
        self._fewest = 1
        self.rows = TRIED[-1]
        self.profile = Profile(self.rows, {self.rows: 0.0})

    def predict(self, questions: Rows[Question]) -> Rows[Array]:
        """What the network says of each row, [channels, height, width]."""
        asked = len(questions)
        filled = [*questions, *[questions[0]] * (self._fewest - asked)]
        feeds = {
            name: np.stack([each.text.inputs[name] for each in filled]) for name in filled[0].text.inputs
        }
        feeds["sample"] = np.stack([each.sample for each in filled])
        feeds["timestep"] = np.array([each.timestep for each in filled], np.float32)
        adapters = [each.adapters for each in filled]
        said = self._run_adapted(feeds, adapters) if any(adapters) else self._plain.run(feeds)
        return list(said[OUTPUT][:asked])

    def _run_adapted(
        self, feeds: dict[str, npt.NDArray[np.float32]], adapters: Rows[Rows[tuple[int, float]]]
    ) -> dict[str, npt.NDArray[np.float32]]:
        own = {"selection": self._stacks.selection(adapters), "factors": self._stacks.factors}
        return self._adapted.run(feeds | own)

    @cached_property
    def _adapted(self) -> Runtime:
        """Opened when the first adapter is used."""
        return self._open_adapted()

    def measure(self, question: Question, rows: int) -> None:
        """Find how many rows a call is to have, unless ``rows`` says; check that company changes no bit."""
        tried = (rows,) if rows else TRIED
        self.profile = measured(lambda count: self.predict([question] * count), tried, _PROFILE_SECONDS)
        self.rows = self.profile.rows
        if not self._is_exact(question):
            self._fewest = (
                self.rows
            )  # this machine's kernels round by the number of rows: always take as many

    def _is_exact(self, question: Question) -> bool:
        alone = self.predict([question])[0]
        return all(
            np.array_equal(alone, said)
            for count in range(2, self.rows + 1)
            for said in self.predict([question] * count)
        )

    def close(self) -> None:
        """Let go of the graphs."""
        self._plain.close()
        if "_adapted" in self.__dict__:
            self._adapted.close()
