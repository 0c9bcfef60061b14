"""The texts of a folder as users have them: documents, and lines of JSON with a field "text"."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from services.finetune.datasets.checking.lines import BadLine, lines_of, text_of
from services.finetune.recipes.version import Corpus

_DOCUMENTS = frozenset({".txt", ".md"})
_RECORDS = ".jsonl"


def corpus_of(folder: Path, description: str = "") -> Corpus:
    """Every text below ``folder``, by path. Raises ValueError where there is none."""
    texts = list(_texts(folder))
    if not texts:
        raise ValueError(f'{folder} holds no texts: .txt, .md, or .jsonl with a field "text"')
    return Corpus(texts, description or f"{len(texts)} texts, {sum(map(len, texts))} characters")


def _texts(folder: Path) -> Iterator[str]:
    for file in sorted(filter(Path.is_file, folder.rglob("*"))):
        if file.suffix.lower() in _DOCUMENTS:
            yield file.read_text(encoding="utf-8")
        elif file.suffix.lower() == _RECORDS:
            for _, line in lines_of(file):
                try:
                    text = text_of(line)
                except BadLine:  # named in the data set's report
                    continue
                yield text
