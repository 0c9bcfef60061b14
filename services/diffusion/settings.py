"""What the diffusion service reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class DiffusionSettings:
    """Which models it has at hand, where they run and how much it takes on."""

    default_model: str = setting(
        "peeps-diffusion", env="PEQUOD_DIFFUSION_DEFAULT_MODEL", help="Model of requests that name none."
    )
    default_upscaler: str = setting(
        "peeps-upscaler",
        env="PEQUOD_DIFFUSION_DEFAULT_UPSCALER",
        help="Upscaler of requests that name none.",
    )
    default_ranker: str = setting(
        "peeps-clip",
        env="PEQUOD_DIFFUSION_DEFAULT_RANKER",
        help="Text-image embedder that ranks images for requests that name none.",
    )
    preload: tuple[str, ...] = setting(
        ("peeps-diffusion", "peeps-upscaler"),
        env="PEQUOD_DIFFUSION_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    max_images: int = setting(
        256,
        env="PEQUOD_DIFFUSION_MAX_IMAGES",
        help="Images that may wait or be in the making; one request has up to 64.",
        minimum=64,
        maximum=65536,
    )
    device: str = setting(
        "auto",
        env="PEQUOD_DIFFUSION_DEVICE",
        help="Where models run: cpu, cuda, or auto for CUDA where it works.",
        choices=("auto", "cpu", "cuda"),
    )
    precision: str = setting(
        "auto",
        env="PEQUOD_DIFFUSION_PRECISION",
        help="Numbers of pipelines: fp32, fp16, bf16, or auto for what suits the device.",
        choices=("auto", "fp32", "fp16", "bf16"),
    )
    offload: str = setting(
        "none",
        env="PEQUOD_DIFFUSION_OFFLOAD",
        help="What of a pipeline waits in the CPU's memory: none, text (encoders and decoder), or all.",
        choices=("none", "text", "all"),
    )
    rows: int = setting(
        0,
        env="PEQUOD_DIFFUSION_ROWS",
        help="Rows of a call of the network; 0: as many as measured to be worth it when a model is loaded.",
        minimum=0,
        maximum=256,
    )
    exact: bool = setting(
        False,
        env="PEQUOD_DIFFUSION_EXACT",
        help="On a GPU fill every call, so that an image is the same to the bit at any load; slower alone.",
    )
    adapter_ranks: int = setting(
        64,
        env="PEQUOD_DIFFUSION_ADAPTER_RANKS",
        help="Ranks of all adapters that are in a pipeline's network at the same time; 0 takes none.",
        minimum=0,
        maximum=1024,
    )
