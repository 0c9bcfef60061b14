"""infinity-emb's engine, without its HTTP server, on the same folder: embed_infinity.py FOLDER THREADS.

Its own default on a CPU is half precision, which takes several times as long here; so float32 is asked for.
"""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Any

import torch
from infinity_emb import AsyncEmbeddingEngine, EngineArgs
from wire import serve_texts


def main(folder: str, threads: int) -> None:
    """Start the engine and serve."""
    torch.set_num_threads(threads)
    arguments = EngineArgs(
        model_name_or_path=folder,
        engine="torch",
        device="cpu",
        dtype="float32",
        bettertransformer=False,
        compile=False,
        batch_size=32,
        model_warmup=False,
    )
    engine = AsyncEmbeddingEngine.from_args(arguments)
    # Not asyncio.Runner: it has the interpreter spell out a task's result when it lets go of Ctrl-C.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(engine.astart())

    def encode(texts: list[str]) -> Any:
        vectors, _ = loop.run_until_complete(engine.embed(texts))
        return vectors

    names = ("infinity-emb", "sentence-transformers", "torch")
    serve_texts(encode, ", ".join(f"{name} {version(name)}" for name in names))
    loop.run_until_complete(engine.astop())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
