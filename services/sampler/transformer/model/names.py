"""Names of tensors and layers in checkpoints, which some writers prefix."""

from __future__ import annotations

PREFIXES = ("", "model.", "transformer.", "language_model.")


def bare(name: str) -> str:
    """A name without the usual prefix."""
    return next(name.removeprefix(prefix) for prefix in reversed(PREFIXES) if name.startswith(prefix))
