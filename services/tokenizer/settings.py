"""What the tokenizer service reads from its environment."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class TokenizerSettings:
    """Which models the service has at hand and how much it takes on."""

    default_encoding: str = setting(
        "cl100k",
        env="PEQUOD_TOKENIZER_DEFAULT_ENCODING",
        help="Encoding of requests for tokens that name none.",
    )
    default_model: str = setting(
        "minilm",
        env="PEQUOD_TOKENIZER_DEFAULT_MODEL",
        help="Embedder of requests that name none.",
    )
    default_words: str = setting(
        "words",
        env="PEQUOD_TOKENIZER_DEFAULT_WORDS",
        help="Word vectors of requests that name none.",
    )
    preload: tuple[str, ...] = setting(
        ("cl100k", "gpt2", "words", "minilm"),
        env="PEQUOD_TOKENIZER_PRELOAD",
        help="Models to load before the service counts as ready, separated by commas.",
    )
    device: str = setting(
        "auto",
        env="PEQUOD_TOKENIZER_DEVICE",
        help="Where encoders run: cpu, cuda, or auto for CUDA where it works.",
        choices=("auto", "cpu", "cuda"),
    )
    batch_tokens: int = setting(
        512,
        env="PEQUOD_TOKENIZER_BATCH_TOKENS",
        help="Tokens, padding included, of one engine step; a longer text is a step of its own.",
        minimum=1,
        maximum=1_048_576,
    )
    max_waiting: int = setting(
        16_384,
        env="PEQUOD_TOKENIZER_MAX_WAITING",
        help="Inputs that may wait to be embedded, for each model.",
        minimum=1024,
        maximum=1_048_576,
    )
    max_work: int = setting(
        1024,
        env="PEQUOD_TOKENIZER_MAX_WORK",
        help="Requests for tokens and words that may wait.",
        minimum=16,
        maximum=65_536,
    )
