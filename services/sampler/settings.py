"""What the sampler reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.settings import setting

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class SamplerSettings:
    """The models a sampler serves and how much it takes on."""

    models: Path = setting(_ROOT / "models", env="PEQUOD_MODELS", help="Folder of the shipped models.")
    store: str = setting(
        "var/models",
        env="PEQUOD_STORE",
        help="The user's model store: a folder, or a URL such as s3://bucket/x.",
    )
    cache: Path = setting(Path("var/cache"), env="PEQUOD_CACHE", help="Folder for fetched and derived data.")
    memory_bytes: int = setting(
        2 * 2**30, env="PEQUOD_SAMPLER_MEMORY_BYTES", help="Bytes that loaded models may hold.", minimum=0
    )
    load_wait_seconds: float = setting(
        5.0,
        env="PEQUOD_LOAD_WAIT_SECONDS",
        help="Seconds a request waits for its model to load before it is told to come back.",
        minimum=0,
        maximum=600,
    )
    default_model: str = setting(
        "moby-ngram", env="PEQUOD_SAMPLER_DEFAULT_MODEL", help="Model of requests that name none."
    )
    preload: tuple[str, ...] = setting(
        ("moby-ngram", "moby-unbounded"),
        env="PEQUOD_SAMPLER_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    max_running: int = setting(
        32, env="PEQUOD_SAMPLER_MAX_RUNNING", help="Sequences that share steps.", minimum=1, maximum=4096
    )
    max_waiting: int = setting(
        256,
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
