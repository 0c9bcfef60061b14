"""Recipe word2vec: vectors of words from the words around them, by skip-gram with negative sampling.

python -m services.finetune.recipes.word2vec --corpus DIR --out STORE/NAME/VERSION

Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed Representations of Words and Phrases and their
Compositionality", 2013. The mean vector is taken off afterwards (Mu, Viswanath, "All-but-the-Top", 2018):
all vectors share it, so it hides what tells them apart. With one worker the same corpus gives the same file.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from services.common.store import Kind, Manifest
from services.finetune.recipes.choices.word2vec import Options
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.texts import corpus_of
from services.finetune.recipes.version import (
    Corpus,
    begin,
    corpus_parser,
    finish,
    manifest_of,
    publish,
    read_corpus,
)
from services.finetune.recipes.watching import Alone, Stopped, Watcher
from services.tokenizer.families import int8_rows

_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


def train(
    corpus: Corpus, out: Path, options: Options | None = None, watcher: Watcher | None = None
) -> Manifest:
    """Train on ``corpus`` into the new version ``out`` = <store>/<name>/<version>; returns its manifest.

    Raises ValueError for a corpus in which no word is common enough, FileExistsError for a version there is,
    Stopped at the end of an epoch.
    """
    chosen = options or Options()
    paragraphs = [words for text in corpus.texts for words in paragraphs_of(text)]
    begin(out)
    started = time.perf_counter()
    trained = _fit(paragraphs, chosen, watcher or Alone())
    seconds = time.perf_counter() - started
    words = trained.index_to_key[: chosen.keep]
    vectors = np.asarray(trained.vectors[: chosen.keep], np.float32)
    int8_rows.save(words, vectors - vectors.mean(axis=0), out)
    metrics = {
        "words_read": float(sum(map(len, paragraphs))),
        "vocabulary": float(len(words)),
        "training_seconds": round(seconds, 1),
    }
    config: dict[str, Any] = {
        "lowercase": True,
        **{name: value for name, value in vars(chosen).items() if name != "workers"},
    }
    return publish(
        corpus, out, Kind.WORD_VECTORS, "int8_rows", config, metrics | scores(out, config), "word2vec"
    )


def paragraphs_of(text: str) -> Iterator[list[str]]:
    """The lower-case words of each paragraph; no window reaches from one into the next."""
    for paragraph in text.split("\n\n"):
        words = _WORD.findall(paragraph.replace("\u2019", "'").lower())
        if words:
            yield words


def scores(folder: Path, config: dict[str, Any]) -> dict[str, float]:
    """Google's analogies and WordSim-353, which gensim ships, on the vectors as stored."""
    from gensim.models import KeyedVectors
    from gensim.test.utils import datapath

    model = int8_rows.load(config, folder, _derives_nothing)
    vectors = KeyedVectors(model.dimensions)
    words = [model.vocabulary.word(number) for number in range(len(model.vocabulary))]
    vectors.add_vectors(words, model.unit)
    figures = {}
    analogies, sections = vectors.evaluate_word_analogies(datapath("questions-words.txt"))
    if sections and any(section["correct"] or section["incorrect"] for section in sections):
        figures["google_analogies_accuracy"] = round(float(analogies), 4)
    with contextlib.suppress(ValueError):  # no pair is in the vocabulary
        _, rank, unknown = vectors.evaluate_word_pairs(datapath("wordsim353.tsv"))
        if unknown < 50:  # percent of the pairs
            figures["wordsim353_spearman"] = round(float(rank[0]), 4)
    return figures


def run(task: Task, watcher: Watcher) -> None:
    """As a job; one that is stopped begins anew."""
    assert task.data is not None
    options, out = task.options(Options, workers=1), task.candidate(1)
    if not is_whole(out):
        train(corpus_of(task.data, task.training_data), out, options, watcher)
    offer_result(watcher, 1, out, manifest_of(out))


def _fit(paragraphs: list[list[str]], options: Options, watcher: Watcher) -> Any:
    from gensim.models import Word2Vec
    from gensim.models.callbacks import CallbackAny2Vec

    class Epochs(CallbackAny2Vec):  # type: ignore[misc]  # gensim has no types
        """Tells the watcher after each."""

        done = 0

        def on_epoch_end(self, model: Any) -> None:
            self.done += 1
            watcher.progressed(self.done, options.epochs, "epochs")
            if watcher.wants_stop() and self.done < options.epochs:
                raise Stopped(f"stopped after epoch {self.done} of {options.epochs}")

    try:
        return Word2Vec(
            paragraphs,
            vector_size=options.dimensions,
            window=options.window,
            min_count=options.min_count,
            negative=options.negatives,
            sample=options.sample,
            epochs=options.epochs,
            workers=options.workers,
            seed=options.seed,
            sg=1,
            callbacks=[Epochs()],
        ).wv
    except RuntimeError:  # gensim's word for an empty vocabulary
        raise ValueError(f"the corpus holds no word {options.min_count} times or more") from None


def _derives_nothing(target: str, build: object) -> Path:
    raise AssertionError(f"{target} was derived")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = corpus_parser(__doc__)
    add_flags(options, Options())
    chosen = options.parse_args(arguments)
    try:
        corpus = read_corpus(chosen.corpus, chosen.glob, chosen.training_data)
        manifest = train(corpus, chosen.out, read_flags(Options, chosen))
    except (ValueError, OSError) as error:
        options.exit(2, f"word2vec: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
