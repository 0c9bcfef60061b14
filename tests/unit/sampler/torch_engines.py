"""Engines of tiny models on the PyTorch runner, our own families' too."""

from __future__ import annotations

from pathlib import Path

from services.sampler.transformer import loading
from services.sampler.transformer.engine import TransformerEngine
from services.sampler.transformer.model.directory import NoFamily
from services.sampler.transformer.onnx.opening import Placement
from services.sampler.transformer.opening import onnx
from tests.unit.sampler import language_models as tiny


class Named:
    """All that loading asks of a version."""

    name = "tiny"


def torch_engine(
    folder: Path, monkeypatch, precision: str = "fp32", slots: int = 8, device: str = "cpu", **budget: int
) -> TransformerEngine:
    """An engine whose runner is PyTorch's, whatever runs the model otherwise."""

    def refuse(*_: object) -> None:
        raise NoFamily

    monkeypatch.setattr(onnx, "open_model", refuse)
    placement = Placement(precision, threads=1, slots=slots, context=tiny.WINDOW, device=device)
    return loading.load(Named, folder, refuse, placement, loading.Budget(**budget))
