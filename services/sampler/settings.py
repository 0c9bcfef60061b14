"""What the sampler reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class SamplerSettings:
    """Which models a sampler has at hand and how much it takes on."""

    default_model: str = setting(
        "storyteller", env="PEQUOD_SAMPLER_DEFAULT_MODEL", help="Model of requests that name none."
    )
    preload: tuple[str, ...] = setting(
        ("storyteller", "moby-ngram", "moby-unbounded"),
        env="PEQUOD_SAMPLER_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    max_running: int = setting(
        128, env="PEQUOD_SAMPLER_MAX_RUNNING", help="Sequences that share steps.", minimum=1, maximum=4096
    )
    pace_ms: float = setting(
        50.0,
        env="PEQUOD_SAMPLER_PACE_MS",
        help="How long a stream's tokens gather before they are sent, after its first; 0: one step.",
        minimum=0,
        maximum=1000,
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
    precision: str = setting(
        "auto",
        env="PEQUOD_SAMPLER_PRECISION",
        help="Weights of transformers: int8 (our families on a CPU), fp32, bf16, or auto for what suits.",
        choices=("auto", "int8", "fp32", "bf16"),
    )
    device: str = setting(
        "auto",
        env="PEQUOD_SAMPLER_DEVICE",
        help="Where transformers run: cpu, cuda, or auto for CUDA where it works.",
        choices=("auto", "cpu", "cuda"),
    )
    slots: int = setting(
        64,
        env="PEQUOD_SAMPLER_SLOTS",
        help="Sequences of one transformer that share steps; others wait.",
        minimum=1,
        maximum=1024,
    )
    context: int = setting(
        4096,
        env="PEQUOD_SAMPLER_CONTEXT",
        help="Most tokens of prompt and output together, where a model has no smaller window.",
        minimum=64,
        maximum=1_048_576,
    )
    cache_bytes: int = setting(
        2**30, env="PEQUOD_SAMPLER_CACHE_BYTES", help="Keys and values of one transformer.", minimum=2**20
    )
    prefix_bytes: int = setting(
        2**28,
        env="PEQUOD_SAMPLER_PREFIX_BYTES",
        help="Kept beginnings of prompts of one transformer; 0 keeps none.",
        minimum=0,
    )
    adapters: int = setting(
        4,
        env="PEQUOD_SAMPLER_ADAPTERS",
        help="Adapters of one transformer in steps at the same time; 0 takes none.",
        minimum=0,
        maximum=64,
    )
    adapter_rank: int = setting(
        16,
        env="PEQUOD_SAMPLER_ADAPTER_RANK",
        help="The largest rank of an adapter; a larger one costs speed.",
        minimum=1,
        maximum=256,
    )
