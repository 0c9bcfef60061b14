"""Answers that must not change: equal questions have equal answers, whoever asks, through whichever door."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from tests.load.core.judging import WrongPayload


class Known:
    """The first answer to each question."""

    def __init__(self) -> None:
        self._answers: dict[Hashable, Any] = {}

    def same(self, question: Hashable, answer: Any) -> None:
        """Raises WrongPayload where another answer came before."""
        first = self._answers.setdefault(question, answer)
        if first != answer:
            raise WrongPayload(f"{question}: {_shown(answer)} in place of {_shown(first)}")

    def near(self, question: Hashable, vector: list[float], tolerance: float = 1e-5) -> None:
        """The same for vectors, whose numbers may differ by ``tolerance``."""
        first = self._answers.setdefault(question, vector)
        if len(first) != len(vector):
            raise WrongPayload(f"{question}: {len(vector)} numbers in place of {len(first)}")
        for one, other in zip(first, vector, strict=True):
            if not abs(one - other) <= tolerance:  # true of what is no number, too
                raise WrongPayload(f"{question}: numbers differ by {abs(one - other):g}")


def _shown(answer: Any) -> str:
    text = repr(answer)
    return text if len(text) <= 80 else f"{text[:77]}..."
