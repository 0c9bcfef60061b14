"""The parts of bench_embed that go through gRPC, on the real platform."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import psutil
import tiktoken
import uvloop
from tiktoken.load import load_tiktoken_bpe

from pequod.model.v1 import LoadModelRequest, ModelServiceStub
from pequod.tokenizer import v1
from services.common.catalogue import SERVICES
from services.common.threads import threads_for
from tests.bench.children import Child
from tests.bench.embed.texts import Texts
from tests.bench.report import Report
from tests.e2e.conftest import started

Work = Callable[[], tuple[float, float]]
"""One round: wall seconds, and CPU seconds of whoever does the work."""

MESSAGE_TEXTS = 500
CALL_TEXTS, TEXT_SIZE, IN_FLIGHT = 64, 2000, 8
OPTIONS = (("grpc.max_receive_message_length", -1),)


class Served:
    """A running platform in a folder of its own, ended with the block."""

    threads = threads_for(len(SERVICES))

    def __init__(self, folder: Path | None = None, **environment: str) -> None:
        self._stack = contextlib.ExitStack()
        self._folder = folder
        self._environment = environment

    def __enter__(self) -> Served:
        folder = self._folder or Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        platform = self._stack.enter_context(started(folder, **self._environment))
        self.gateway = platform.grpc
        self.service = f"127.0.0.1:{platform.environment['PEQUOD_TOKENIZER_PORT']}"
        self.process = platform.child("services.tokenizer")
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def timed(self, target: str, call: Callable[[grpc.aio.Channel], Coroutine[Any, Any, None]]) -> Work:
        """A round of calls to ``target``; the CPU seconds are the service's."""

        async def opened() -> None:
            async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
                await call(channel)

        def work() -> tuple[float, float]:
            wall, cpu = time.perf_counter(), _cpu(self.process)
            uvloop.run(opened())
            return time.perf_counter() - wall, _cpu(self.process) - cpu

        return work


def bench_stream(
    served: Served, engine: Child, texts: Sequence[str], tokens: int, rounds: int, report: Report
) -> None:
    """Bulk embedding by EmbedStream beside the bare engine with as many threads."""
    engine.keep("stream", [texts])
    messages = [
        v1.EmbedStreamRequest(
            inputs=[v1.EmbedInput(text=text) for text in texts[start : start + MESSAGE_TEXTS]],
            options=v1.EmbedOptions(format=v1.VECTOR_FORMAT_FLOAT32_BYTES),
        )
        for start in range(0, len(texts), MESSAGE_TEXTS)
    ]

    async def sent() -> AsyncIterator[v1.EmbedStreamRequest]:
        for message in messages:
            yield message

    async def call(channel: grpc.aio.Channel) -> None:
        stub: Any = v1.EmbeddingServiceStub(channel)
        indices = [each.index async for reply in stub.EmbedStream(sent()) for each in reply.embeddings]
        assert sorted(indices) == list(range(len(texts))), f"{len(indices)} vectors of {len(texts)} texts"

    measured = _rounds(
        {
            "bare engine": lambda: engine.run("stream"),
            "service": served.timed(served.service, call),
            "gateway": served.timed(served.gateway, call),
        },
        rounds,
    )
    bare = measured["bare engine"][0]
    rows = [
        (name, f"{wall:.2f}", f"{cpu:.2f}", f"{len(texts) / wall:,.0f}", f"{bare / wall:.2f}")
        for name, (wall, cpu) in measured.items()
    ]
    mean = tokens / len(texts)
    report.table(
        f"EmbedStream, {len(texts)} texts of {mean:.0f} tokens in the mean, {served.threads} thread(s), "
        f"medians of {rounds} rounds",
        ("", "wall s", "CPU s of engine or service", "texts/s", "of the bare engine"),
        rows,
    )
    for name in ("service", "gateway"):
        report.least(f"EmbedStream, {name} / bare engine", bare / measured[name][0], 0.90)
    report.most("resident memory of the service, MB", served.process.memory_info().rss / 1e6, 600)


def bench_tokens(
    served: Served, source: Texts, models: Path, calls: int, rounds: int, report: Report
) -> None:
    """Tokenize in batches, several calls in flight, beside tiktoken in this process."""
    encoding = _tiktoken(models / "cl100k/1")
    batches = [source.pieces(CALL_TEXTS, TEXT_SIZE) for _ in range(calls)]
    megabytes = sum(len(text.encode()) for batch in batches for text in batch) / 1e6
    requests = [v1.TokenizeRequest(model="cl100k", texts=batch) for batch in batches]
    counts: dict[str, int] = {}

    async def call(channel: grpc.aio.Channel) -> None:
        stub: Any = v1.TokenizerServiceStub(channel)
        waiting = iter(requests)

        async def caller() -> int:
            replies = [await stub.Tokenize(request) for request in waiting]
            return sum(len(each.ids) for reply in replies for each in reply.tokenizations)

        counts["service"] = sum(await asyncio.gather(*[caller() for _ in range(IN_FLIGHT)]))

    def loop() -> None:
        counts["tiktoken"] = sum(len(encoding.encode_ordinary(text)) for batch in batches for text in batch)

    def batch() -> None:
        for each in batches:
            encoding.encode_ordinary_batch(each, num_threads=served.threads)

    measured = _rounds(
        {
            "tiktoken, encode_ordinary": lambda: _here(loop),
            "tiktoken, encode_ordinary_batch": lambda: _here(batch),
            "service": served.timed(served.service, call),
            "gateway": served.timed(served.gateway, call),
        },
        rounds,
    )
    assert counts["service"] == counts["tiktoken"], counts
    single, several = (measured[name][0] for name in list(measured)[:2])
    rows = [
        (
            name,
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{megabytes / wall:.1f}",
            f"{counts['tiktoken'] / wall:,.0f}",
            f"{single / wall:.2f}",
            f"{several / wall:.2f}",
        )
        for name, (wall, cpu) in measured.items()
    ]
    report.table(
        f"Tokenize, cl100k, {calls} calls of {CALL_TEXTS} texts of {TEXT_SIZE / 1000:g} kB, "
        f"{IN_FLIGHT} in flight, {served.threads} thread(s), medians of {rounds} rounds",
        ("", "wall s", "CPU s", "MB/s", "tokens/s", "of encode_ordinary", "of encode_ordinary_batch"),
        rows,
    )
    for name in ("service", "gateway"):
        report.least(f"Tokenize, {name} / faster tiktoken", min(single, several) / measured[name][0], 0.60)


def bench_words(words: int, home: Path, report: Report, dimensions: int = 300) -> None:
    """Word vectors of the size of Google News by a file: reference: loads, memory, questions."""
    needed = 2.3 * 4 * words * dimensions
    if (free := shutil.disk_usage(home).free) < needed:
        report.say(f"\n**words is left out:** {needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free")
        return
    with tempfile.TemporaryDirectory(dir=home.resolve()) as name:
        folder = Path(name)
        file = folder / "vectors.bin"
        _write_vectors(file, words, dimensions)
        environment = {"PEQUOD_FILE_ROOTS": name, "PEQUOD_CACHE": f"{name}/cache"}
        reference = f"file:{file}"
        rows: list[tuple[str, str]] = []
        with Served(folder, **environment) as served:
            rows.append(("first load, converts, s", f"{_load(served, reference):.1f}"))
            rows.append(("resident after it, MB (of it mapped files)", _resident(served.process)))
        with Served(folder, **environment) as served:
            rows.append(("load again in a new process, s", f"{_load(served, reference):.1f}"))
            rows.append(("resident after it, MB (of it mapped files)", _resident(served.process)))
            slowest = {}
            for kind, seconds in _questions(served, reference, words).items():
                median, slowest[kind] = statistics.median(seconds), max(seconds)
                rows.append(
                    (f"{kind}, median (longest) of 10, ms", f"{median * 1e3:.0f} ({slowest[kind] * 1e3:.0f})")
                )
            rows.append(("resident after the questions, MB (of it mapped files)", _resident(served.process)))
    size = 4 * words * dimensions / 1e9
    report.table(f"Word vectors, {words:,} x {dimensions}, {size:.1f} GB", ("", "figure"), rows)
    for kind, seconds in slowest.items():
        report.most(f"{kind}, longest, s", seconds, 1.0)


def _rounds(works: dict[str, Work], rounds: int) -> dict[str, tuple[float, float]]:
    """Medians of interleaved rounds."""
    taken = [{name: work() for name, work in works.items()} for _ in range(rounds)]
    return {
        name: (
            statistics.median(each[name][0] for each in taken),
            statistics.median(each[name][1] for each in taken),
        )
        for name in works
    }


def _here(job: Callable[[], None]) -> tuple[float, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return time.perf_counter() - wall, time.process_time() - cpu


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _resident(process: psutil.Process) -> str:
    memory = process.memory_info()
    return f"{memory.rss / 1e6:,.0f} ({memory.shared / 1e6:,.0f})"


def _tiktoken(folder: Path) -> tiktoken.Encoding:
    config = json.loads((folder / "model.json").read_text())["config"]
    ranks = load_tiktoken_bpe(str(folder / "ranks.tiktoken"))
    return tiktoken.Encoding(
        "cl100k",
        pat_str=config["pattern"],
        mergeable_ranks=ranks,
        special_tokens=config["special_tokens"],
    )


def _write_vectors(file: Path, words: int, dimensions: int, block: int = 50_000) -> None:
    """A file of Google's format: random vectors under names of eight digits."""
    random_numbers = np.random.default_rng(0)
    kind = np.dtype([("word", "S9"), ("vector", "<f4", (dimensions,))])
    with file.open("wb") as opened:
        opened.write(f"{words} {dimensions}\n".encode())
        for start in range(0, words, block):
            rows = np.empty(min(block, words - start), kind)
            rows["word"] = [_word(start + place).encode() + b" " for place in range(len(rows))]
            rows["vector"] = random_numbers.standard_normal((len(rows), dimensions), np.float32)
            rows.tofile(opened)


def _word(number: int) -> str:
    return f"{number:08d}"


def _load(served: Served, reference: str) -> float:
    began = time.perf_counter()
    with grpc.insecure_channel(served.service) as channel:
        ModelServiceStub(channel).LoadModel(LoadModelRequest(model=reference), timeout=3600)
    return time.perf_counter() - began


def _questions(served: Served, reference: str, words: int, count: int = 10) -> dict[str, list[float]]:
    """Seconds of each question, as the caller sees them."""
    drawn = random.Random(0)
    seconds: dict[str, list[float]] = {"Neighbors": [], "Analogy": []}
    with grpc.insecure_channel(served.service) as channel:
        stub = v1.EmbeddingServiceStub(channel)
        for _ in range(count):
            first, second, third = (_word(number) for number in drawn.sample(range(words), 3))
            began = time.perf_counter()
            stub.Neighbors(v1.NeighborsRequest(model=reference, word=first))
            seconds["Neighbors"].append(time.perf_counter() - began)
            began = time.perf_counter()
            stub.Analogy(v1.AnalogyRequest(model=reference, positive=[first, second], negative=[third]))
            seconds["Analogy"].append(time.perf_counter() - began)
    return seconds
