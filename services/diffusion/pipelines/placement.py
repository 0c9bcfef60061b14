"""How pipelines run here: what the service sets, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Where a pipeline's parts lie and in which precision."""

    device: str = "auto"
    """"cpu", "cuda", or "auto" for CUDA where it works."""
    precision: str = "auto"
    """"fp32", "fp16", "bf16", or "auto": fp32 on a CPU; on a GPU bf16 for Flux, fp16 for the others."""
    offload: str = "none"
    """What waits in the CPU's memory while it is not used: "none"; "text" for the text encoders and the
    VAE; "all" for the network too, layer by layer, which is slow."""
    ranks: int = 64
    """Ranks of all adapters that can be in the network at the same time; 0: none can be asked for."""
    rows: int = 0
    """The most rows of a call; 0: as measured when the pipeline is opened."""
    exact: bool | None = None
    """Whether calls are filled up to ``rows``, so that an image does not depend on its company by a bit; a
    lone one takes longer then. None: on a CPU, where calls of few rows are as fast by the row."""
    seconds: float = 20.0
    """How long that measurement may take, its last call aside."""

    def __post_init__(self) -> None:
        _one_of("device", self.device, ("auto", "cpu", "cuda"))
        _one_of("precision", self.precision, ("auto", "fp32", "fp16", "bf16"))
        _one_of("offload", self.offload, ("none", "text", "all"))


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r} is none of {', '.join(known)}")
