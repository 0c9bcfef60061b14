"""Measures embeddings, tokens and word vectors; run as ``python -m tests.bench.bench_embed``.

Sections, chosen with ``--only``: ``engine`` is our engine without gRPC beside sentence-transformers,
infinity-emb and a plain ONNX Runtime session, on the same weights with the same number of threads.
``accuracy`` compares vectors. ``stream`` and ``tokens`` go through gRPC on the real platform, straight to
the service and through the gateway. ``words`` loads word vectors of the size of Google News.

Every peer is a process of its own in an environment of its own (``var/bench/``, made at first use). All are
warm at once, one works at a time, rounds are interleaved; figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.common.threads import available_cores
from tests.bench.children import HOME, Child, Nursery, Peer, rounds
from tests.bench.embed.texts import MIXED, SHORT, Texts
from tests.bench.embed.through_grpc import Served, bench_stream, bench_tokens, bench_words
from tests.bench.options import bench_parser
from tests.bench.report import Report

MODELS = Path(__file__).parents[2] / "models"
FOLDER = MODELS / "minilm/1"
SECTIONS = ("engine", "accuracy", "stream", "tokens", "words")

INT8 = Peer("ours, int8", "embed_ours.py", ("int8",))
FP32 = Peer("ours, fp32", "embed_ours.py", ("fp32",))
SENTENCE = Peer("sentence-transformers", "embed_sentence.py", (), ("sentence-transformers",))
INFINITY = Peer("infinity-emb", "embed_infinity.py", (), ("infinity-emb[torch]", "transformers<5"))


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    rounds: int
    short: int
    mixed: int
    mixed_rounds: int
    accuracy: int
    streamed: int
    stream_rounds: int
    calls: int


FULL = Sizes(
    rounds=5, short=512, mixed=192, mixed_rounds=3, accuracy=256, streamed=10_000, stream_rounds=3, calls=100
)
QUICK = Sizes(
    rounds=2, short=64, mixed=24, mixed_rounds=2, accuracy=64, streamed=600, stream_rounds=2, calls=8
)


def plain() -> Peer:
    """The graph that set-up exported, in a session of its own."""
    graph = next(MODELS.glob("exports/*/onnx/minilm.onnx"))
    return Peer("plain ONNX Runtime", "embed_plain_onnxruntime.py", (str(graph),))


class Bench:
    """What the sections share."""

    def __init__(self, options: argparse.Namespace, sizes: Sizes) -> None:
        self.options = options
        self.sizes = sizes
        self.report = Report()
        self.texts = Texts(options.corpus, MODELS)
        self.nursery = Nursery(options.torch, options.torch_index, self.report)

    def engine(self) -> None:
        """Texts to vectors in one process, every peer with one thread and with two."""
        peers = [INT8, FP32, *self._chosen([SENTENCE, INFINITY, plain()])]
        sizes = self.sizes
        workloads = {
            f"{sizes.short} texts of {SHORT} tokens": (self.texts.short(sizes.short), sizes.rounds),
            f"{sizes.mixed} texts of {MIXED[0]}..{MIXED[1]} tokens": (
                self.texts.mixed(sizes.mixed),
                sizes.mixed_rounds,
            ),
        }
        for place, threads in enumerate(self.options.threads):
            with self.nursery.children(peers, FOLDER, threads) as children:
                if not place:
                    for child in children:
                        self.report.say(f"- {child.name}: {child.versions}")
                for name, (texts, count) in workloads.items():
                    measured = _measured(children, texts, count)
                    title = f"{name}, {threads} thread(s), medians of {count} rounds"
                    self._show(title, measured, self.texts.tokens(texts))

    def accuracy(self) -> None:
        """Our vectors beside those of sentence-transformers, and a text's vector in whatever company."""
        texts = self.texts.mixed(self.sizes.accuracy)
        peers = [SENTENCE, INT8, FP32]
        with self.nursery.children(peers, FOLDER, max(self.options.threads)) as children:
            by_name = {child.name: child for child in children}
            if SENTENCE.name in by_name:
                exact = _vectors(by_name[SENTENCE.name], [texts])
                self._compare(
                    exact, _vectors(by_name[INT8.name], [texts]), _vectors(by_name[FP32.name], [texts])
                )
            for peer in (INT8, FP32):
                self.report.most(
                    f"{peer.name}: largest difference of a vector alone and in a batch",
                    _company(by_name[peer.name], texts),
                    1e-6,
                )

    def through_grpc(self, sections: Sequence[str]) -> None:
        """The sections that need the platform share one."""
        with Served() as served:
            if "stream" in sections:
                texts = self.texts.usual(self.sizes.streamed)
                with self.nursery.children([INT8], FOLDER, served.threads) as children:
                    tokens = self.texts.tokens(texts)
                    bench_stream(served, children[0], texts, tokens, self.sizes.stream_rounds, self.report)
            if "tokens" in sections:
                bench_tokens(served, self.texts, MODELS, self.sizes.calls, self.sizes.rounds, self.report)

    def _chosen(self, peers: Sequence[Peer]) -> list[Peer]:
        wanted = self.options.peers
        return [peer for peer in peers if not wanted or any(name in peer.script for name in wanted)]

    def _show(self, title: str, measured: dict[str, np.ndarray], tokens: int) -> None:
        medians = {name: np.median(rounds, axis=0) for name, rounds in measured.items()}
        ours = {name: medians[name] for name in (INT8.name, FP32.name)}
        rows = [
            (
                name,
                f"{wall:.3f}",
                f"{cpu:.3f}",
                f"{tokens / wall:,.0f}",
                *(f"{wall / mine[0]:.2f} ({cpu / mine[1]:.2f})" for mine in ours.values()),
            )
            for name, (wall, cpu) in medians.items()
        ]
        ratios = [f"wall (CPU) / {name}" for name in ours]
        self.report.table(title, ("", "wall s", "CPU s", "tokens/s", *ratios), rows)

    def _compare(self, exact: np.ndarray, int8: np.ndarray, fp32: np.ndarray) -> None:
        cosines = {INT8.name: _cosines(exact, int8), FP32.name: _cosines(exact, fp32)}
        rows = [(name, f"{each.mean():.6f}", f"{each.min():.6f}") for name, each in cosines.items()]
        title = f"Cosine to sentence-transformers, {len(exact)} texts of {MIXED[0]}..{MIXED[1]} tokens"
        self.report.table(title, ("", "mean", "least"), rows)
        self.report.least("ours, int8: mean cosine", float(cosines[INT8.name].mean()), 0.99)
        self.report.least("ours, int8: least cosine", float(cosines[INT8.name].min()), 0.985)
        self.report.most(
            "ours, fp32: largest difference of a number", float(np.abs(exact - fp32).max()), 1e-4
        )


def _measured(children: Sequence[Child], texts: Sequence[str], count: int) -> dict[str, np.ndarray]:
    """Wall and CPU seconds of each interleaved round, [count, 2], after one that does not count."""
    for child in children:
        child.keep("workload", [texts])
        child.run("workload")
    return rounds(children, ["workload"] * count)


def _vectors(child: Child, groups: Sequence[Sequence[str]]) -> np.ndarray:
    """Vectors of all texts, each group embedded as one call."""
    return np.stack(child.make(groups))


def _cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines: np.ndarray = (left * right).sum(axis=1) / norms
    return cosines


def _company(child: Child, texts: Sequence[str]) -> float:
    """The largest difference between vectors of a text alone, among all, and (some) with the longest text."""
    longest = max(texts, key=len)
    alone = _vectors(child, [[text] for text in texts])
    paired = _vectors(child, [[text, longest] for text in texts[::4]])[::2]
    together = _vectors(child, [texts])
    return float(max(np.abs(alone[::4] - paired).max(), np.abs(alone - together).max()))


def parse() -> argparse.Namespace:
    """The command line."""
    options = bench_parser(__doc__, SECTIONS, "sentence, infinity, onnxruntime")
    options.add_argument("--threads", type=int, nargs="+", default=[2, 1])
    options.add_argument(
        "--google-news-words", type=int, default=0, help="words of section words; 0 skips it"
    )
    return options.parse_args()


def main() -> None:
    """Run the sections."""
    options = parse()
    HOME.mkdir(parents=True, exist_ok=True)
    bench = Bench(options, QUICK if options.quick else FULL)
    say = bench.report.say
    say(
        f"{available_cores()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"text of {bench.texts.origin}\n"
    )
    if "engine" in options.only:
        bench.engine()
    if "accuracy" in options.only:
        bench.accuracy()
    if {"stream", "tokens"} & set(options.only):
        bench.through_grpc(options.only)
    if "words" in options.only and options.google_news_words:
        bench_words(options.google_news_words, HOME, bench.report)
    bench.report.summary()


if __name__ == "__main__":
    main()
