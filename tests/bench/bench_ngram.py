"""Measures the n-gram families; run as ``python -m tests.bench.bench_ngram --corpus DIR``.

Wall and CPU seconds are medians over repeats in this one process, peers beside in the same run. The peer is
the textbook's way in plain Python: a dictionary of Counters, and ``random.choices``.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from services.sampler.families import infinigram, ngram
from services.sampler.ngrams.alphabet import Characters, Shannon
from services.sampler.ngrams.chain import NgramOptions
from services.sampler.ngrams.engine import NgramEngine
from services.sampler.ngrams.suffix_array import SuffixArray, build, code
from services.sampler.ngrams.trie import count_levels
from services.sampler.sequence import Plan, Stopping, Task
from services.sampler.sequence import Sequence as SamplerSequence

ORDERS = 5
QUERIES = 2000


@dataclass(frozen=True)
class Times:
    """Medians over the repeats of one measurement, seconds."""

    wall: float
    cpu: float


def measure(work: Callable[[], object], repeats: int) -> Times:
    """Run ``work`` ``repeats`` times."""
    walls, cpus = [], []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Times(statistics.median(walls), statistics.median(cpus))


def show(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table."""
    cells = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    sys.stdout.write("\n".join(["", title, *lines, ""]))
    sys.stdout.flush()


def peak_mb() -> float:
    """The most memory this process ever held, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


class Textbook:
    """The plain-Python peer: for every context of N-1 symbols, a Counter of what followed."""

    def __init__(self, text: str, orders: int) -> None:
        self.tables: dict[int, dict[str, Counter[str]]] = {}
        for order in range(1, orders + 1):
            table: dict[str, Counter[str]] = defaultdict(Counter)
            for end in range(order - 1, len(text)):
                table[text[end - order + 1 : end]][text[end]] += 1
            self.tables[order] = table

    def generate(self, order: int, count: int, seed: int) -> str:
        """Draw ``count`` symbols; an unseen context starts over."""
        rng, table = random.Random(seed), self.tables[order]
        ready = {context: (list(counts), list(counts.values())) for context, counts in table.items()}
        context, drawn = "THE "[5 - order :], []
        for _ in range(count):
            symbols, weights = ready.get(context) or ready[next(iter(ready))]
            symbol = rng.choices(symbols, weights)[0]
            drawn.append(symbol)
            context = (context + symbol)[-order + 1 :] if order > 1 else ""
        return "".join(drawn)


def generate(engine: NgramEngine, order: int | None, count: int, seed: int) -> str:
    """Draw ``count`` symbols through the engine, text assembly included."""
    options = NgramOptions(order or engine.traits.order or 1)
    prompt = engine.alphabet.encode("THE ")
    plan = Plan(Task.GENERATE, prompt, options, stopping=Stopping(count), seed=seed)
    sequence = SamplerSequence(plan, 0, engine.alphabet)
    parts = []
    while sequence.finish is None:
        parts.append(engine.step([sequence])[0].text)
    engine.release(sequence)
    return "".join(parts)


def bench_training(text: str, repeats: int) -> tuple[ngram.Ngram, Textbook]:
    """All orders of one book."""
    alphabet = Shannon()
    documents = [alphabet.encode(text)]
    normalised = alphabet.normalise(text)
    encoding = measure(lambda: alphabet.encode(text), repeats)
    counting = measure(lambda: count_levels(documents, alphabet.size, ORDERS), repeats)
    books: list[Textbook] = []
    peer = measure(lambda: books.append(Textbook(normalised, ORDERS)), 1)
    rows = [
        ("encode the text", f"{encoding.wall:.3f}", f"{encoding.cpu:.3f}"),
        ("count trie", f"{counting.wall:.3f}", f"{counting.cpu:.3f}"),
        ("textbook Counters", f"{peer.wall:.3f}", f"{peer.cpu:.3f}"),
    ]
    show(f"Training, N = 1..{ORDERS}, {documents[0].size} symbols", ("", "wall s", "CPU s"), rows)
    sys.stdout.write(f"count trie against the textbook: {peer.cpu / counting.cpu:.1f}x less CPU\n")
    return ngram.Ngram(alphabet, count_levels(documents, alphabet.size, ORDERS)), books[0]


def bench_suffix_array(texts: Sequence[str], folder: Path) -> infinigram.Infinigram:
    """Build over the whole corpus, write, and map it again."""
    size = sum(len(text.encode()) for text in texts)
    alphabet = Characters("".join(sorted(set().union(*texts))))
    before = peak_mb()
    held: dict[str, Any] = {}
    coding = measure(lambda: held.update(text=code(map(alphabet.encode, texts), alphabet.size)), 1)
    sorting = measure(lambda: held.update(order=build(held["text"], 1)), 1)
    peak = peak_mb()
    infinigram.save_symbols(held["text"], folder)
    infinigram.save_suffix_array(held["order"], folder)
    held.clear()
    config = {"alphabet": {"kind": "text", "characters": alphabet.characters}, "stored_suffix_array": True}
    models: list[infinigram.Infinigram] = []
    mapping = measure(lambda: models.append(infinigram.load(config, folder, _nothing_derived)), 3)
    stored = sum(file.stat().st_size for file in folder.iterdir())
    rows = [
        (name, f"{times.wall:.2f}", f"{times.cpu:.2f}")
        for name, times in (
            ("code the text", coding),
            ("sort the suffixes", sorting),
            ("map from disk", mapping),
        )
    ]
    show(f"Suffix array, {size / 1e6:.1f} MB, {models[0].order} symbols", ("", "wall s", "CPU s"), rows)
    sys.stdout.write(
        f"bytes on disk per byte of text: {stored / size:.2f}; "
        f"peak memory {peak:.0f} MB, of it before the build {before:.0f} MB\n"
    )
    return models[0]


def bench_queries(model: infinigram.Infinigram, texts: Sequence[str]) -> None:
    """Next-symbol distributions after contexts drawn from the corpus."""
    rng = random.Random(0)
    rows = []
    for length in (0, 1, 2, 4, 8, 32, None):
        order = model.order if length is None else length + 1
        chain = model.chain(NgramOptions(order))
        contexts = [_context(rng, texts, 100 if length is None else length) for _ in range(QUERIES)]
        seconds = []
        for ids in map(model.alphabet.encode, contexts):
            began = time.perf_counter()
            chain.following(chain.start(ids))
            seconds.append(time.perf_counter() - began)
        median, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
        rows.append(("unbounded" if length is None else length, f"{median:.3f}", f"{p99:.3f}"))
    show("Next-symbol query, suffix array", ("context", "median ms", "p99 ms"), rows)


def bench_generation(
    counted: ngram.Ngram, searched: infinigram.Infinigram, textbook: Textbook, count: int, repeats: int
) -> None:
    """Characters a second through the engine, one sequence, warm tables, a fresh seed each time."""
    seeds = iter(range(10**6))
    rows, by_cpu = [], {}

    def note(name: str, order: int | None, drawn: int, work: Callable[[], object]) -> None:
        work()  # fills the tables
        times = measure(work, repeats)
        by_cpu[name, order] = drawn / times.cpu
        rows.append((name, order or "unbounded", f"{drawn / times.wall:,.0f}", f"{drawn / times.cpu:,.0f}"))

    for model, orders in ((counted, (1, 2, 3, 5)), (searched, (3, 5, None))):
        name, drawn = ("table", count) if model is counted else ("suffix array", count // 10)
        engine = NgramEngine(name, model)
        for order in orders:
            note(name, order, drawn, partial(_generate_next, engine, order, drawn, seeds))
    note("textbook", 3, count, lambda: textbook.generate(3, count, next(seeds)))
    show("Generation, characters a second", ("", "N", "by wall", "by CPU"), rows)
    ratio = by_cpu["table", 3] / by_cpu["textbook", 3]
    sys.stdout.write(f"table against the textbook at N = 3: {ratio:.1f}x the characters per CPU second\n")


def _generate_next(engine: NgramEngine, order: int | None, count: int, seeds: Iterator[int]) -> str:
    return generate(engine, order, count, next(seeds))


def _context(rng: random.Random, texts: Sequence[str], length: int) -> str:
    text = rng.choices(texts, [len(text) for text in texts])[0]
    begin = rng.randrange(len(text) - length)
    return text[begin : begin + length]


def _nothing_derived(name: str, _: object) -> Path:
    raise RuntimeError(f"{name} is stored and was to be derived")


def main() -> None:
    """Run all parts."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--corpus", type=Path, required=True, help="folder of UTF-8 texts")
    options.add_argument("--book", default="herman-melville_moby-dick.txt", help="the text for the table")
    options.add_argument("--count", type=int, default=200_000, help="characters to generate")
    options.add_argument("--repeats", type=int, default=5)
    chosen = options.parse_args()
    texts = [path.read_text(encoding="utf-8") for path in sorted(chosen.corpus.glob("*.txt"))]
    book = (chosen.corpus / chosen.book).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        large = bench_suffix_array(texts, Path(folder))
        bench_queries(large, texts)
    counted, textbook = bench_training(book, chosen.repeats)
    text = code([counted.alphabet.encode(book)], counted.alphabet.size)
    searched = infinigram.Infinigram(counted.alphabet, SuffixArray(text, build(text, 1), 1))
    bench_generation(counted, searched, textbook, chosen.count, chosen.repeats)


if __name__ == "__main__":
    main()
