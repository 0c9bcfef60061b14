"""What the sampler reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class SamplerSettings:
    """Which models a sampler has at hand and how much it takes on."""

    default_model: str = setting(
        "moby-ngram", env="PEQUOD_SAMPLER_DEFAULT_MODEL", help="Model of requests that name none."
    )
    preload: tuple[str, ...] = setting(
        ("moby-ngram", "moby-unbounded"),
        env="PEQUOD_SAMPLER_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    max_running: int = setting(
        128, env="PEQUOD_SAMPLER_MAX_RUNNING", help="Sequences that share steps.", minimum=1, maximum=4096
    )
    max_waiting: int = setting(
        512,
        env="PEQUOD_SAMPLER_MAX_WAITING",
        help="Sequences that may wait; one request has up to 32.",
        minimum=32,
        maximum=65536,
    )
    max_tokens: int = setting(
        262_144,
        env="PEQUOD_SAMPLER_MAX_TOKENS",
        help="Most symbols a completion may have.",
        minimum=1,
        maximum=1_048_576,
    )
