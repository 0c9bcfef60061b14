"""What the GAN service reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class GanSettings:
    """Which models it has at hand, where they run and how much it takes on."""

    default_model: str = setting(
        "peeps-gan", env="PEQUOD_GAN_DEFAULT_MODEL", help="Model of requests that name none."
    )
    default_upscaler: str = setting(
        "peeps-upscaler", env="PEQUOD_GAN_DEFAULT_UPSCALER", help="Upscaler of requests that name none."
    )
    feature_model: str = setting(
        "peeps-clip",
        env="PEQUOD_GAN_FEATURE_MODEL",
        help="Text-image embedder whose space projections are compared in.",
    )
    preload: tuple[str, ...] = setting(
        ("peeps-gan",),
        env="PEQUOD_GAN_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    max_images: int = setting(
        1024,
        env="PEQUOD_GAN_MAX_IMAGES",
        help="Images of one model that may wait to be drawn; a request has at most 16 there at a time.",
        minimum=16,
        maximum=65536,
    )
    max_projections: int = setting(
        8,
        env="PEQUOD_GAN_MAX_PROJECTIONS",
        help="Projections under way at a time; they take turns at every step.",
        minimum=1,
        maximum=256,
    )
    max_animations: int = setting(
        4,
        env="PEQUOD_GAN_MAX_ANIMATIONS",
        help="Moving pictures in the making at a time; each holds all its frames in memory.",
        minimum=1,
        maximum=256,
    )
    device: str = setting(
        "auto",
        env="PEQUOD_GAN_DEVICE",
        help="Where graphs run: cpu, cuda, or auto for CUDA where it works.",
        choices=("auto", "cpu", "cuda"),
    )
    rows: int = setting(
        8,
        env="PEQUOD_GAN_ROWS",
        help="The most images that share a call of the networks.",
        minimum=1,
        maximum=256,
    )
