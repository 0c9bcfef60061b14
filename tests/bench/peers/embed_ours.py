"""Our engine as the tokenizer service makes it, without gRPC: embed_ours.py FOLDER THREADS PRECISION."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import onnxruntime
import uvloop
from wire import serve_texts

from services.common.export.exporter import StoreExporter, family_graphs
from services.common.metrics import Metrics
from services.common.store.settings import StoreSettings
from services.common.threads import cap_threads
from services.common.work import Work
from services.tokenizer import families
from services.tokenizer.embedding import Embedding
from services.tokenizer.encoders.encoder import Encoder
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.engine import EmbedOptions, Input, Precision
from services.tokenizer.meter import Meter
from services.tokenizer.queues import RowQueues
from services.tokenizer.settings import TokenizerSettings


async def opened(folder: Path, threads: int) -> Encoder:
    """The encoder of a version in a shipped store, its graphs those made at set-up."""
    settings = StoreSettings(shipped=folder.parents[1], cache=Path("var/bench/cache"))
    store = settings.open()
    version = await store.resolve(f"{folder.parent.name}:{folder.name}")
    exporter = StoreExporter(settings.cache, family_graphs(families), kept=(settings.shipped,))
    opener = EncoderOpener(store, exporter, Device(TokenizerSettings().device, threads))
    encoder = opener.open(version, await store.fetch(version))
    assert isinstance(encoder, Encoder)
    return encoder


def main(folder: Path, threads: int, precision: Precision) -> None:
    """Embed each workload as one call, on the event loop that the service runs on."""
    cap_threads(threads)
    metrics, settings = Metrics("tokenizer"), TokenizerSettings()
    # Not asyncio.Runner: it has the interpreter spell out a task's result when it lets go of Ctrl-C.
    loop = uvloop.new_event_loop()
    encoder = loop.run_until_complete(opened(folder, threads))
    embedding = Embedding(
        Work("embed", metrics, threads, settings.max_work), RowQueues(metrics, settings), metrics
    )

    def encode(texts: list[str]) -> Any:
        inputs = [Input("inputs", text) for text in texts]
        made = embedding.all(encoder, inputs, EmbedOptions(), precision, Meter(), None)
        return loop.run_until_complete(made).vectors

    serve_texts(encode, f"onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Precision(sys.argv[3]))
