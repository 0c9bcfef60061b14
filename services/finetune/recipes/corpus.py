"""Fetches the public-domain books that the shipped text models were trained on, as plain text.

python -m services.finetune.recipes.corpus --out var/corpus

The books are Standard Ebooks editions (the editions' own work is CC0). One UTF-8 file a book, named
author_title_translator.txt; headings and paragraphs are separated by blank lines; notes, title pages
and the publisher's pages are left out.
"""

from __future__ import annotations

import argparse
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

SITE = "https://standardebooks.org"
_TIMEOUT = 60.0

BOOKS = (
    "alexandre-dumas_the-count-of-monte-cristo_chapman-and-hall",
    "arthur-conan-doyle_the-adventures-of-sherlock-holmes",
    "bram-stoker_dracula",
    "charles-darwin_the-origin-of-species",
    "charles-dickens_david-copperfield",
    "charles-dickens_great-expectations",
    "edward-gibbon_the-history-of-the-decline-and-fall-of-the-roman-empire",
    "frances-hodgson-burnett_the-secret-garden",
    "fyodor-dostoevsky_crime-and-punishment_constance-garnett",
    "george-eliot_middlemarch",
    "h-g-wells_the-war-of-the-worlds",
    "herman-melville_moby-dick",
    "homer_the-odyssey_william-cullen-bryant",
    "jack-london_the-call-of-the-wild",
    "jacob-grimm_wilhelm-grimm_household-tales_margaret-hunt",
    "jane-austen_pride-and-prejudice",
    "jules-verne_twenty-thousand-leagues-under-the-seas_f-p-walter",
    "kenneth-grahame_the-wind-in-the-willows",
    "l-frank-baum_the-wonderful-wizard-of-oz",
    "leo-tolstoy_anna-karenina_constance-garnett",
    "leo-tolstoy_war-and-peace_louise-maude_aylmer-maude",
    "lewis-carroll_alices-adventures-in-wonderland_john-tenniel",
    "mark-twain_the-adventures-of-huckleberry-finn",
    "mark-twain_the-adventures-of-tom-sawyer",
    "mary-shelley_frankenstein",
    "robert-louis-stevenson_treasure-island",
    "rudyard-kipling_the-jungle-book",
    "thomas-bulfinch_bulfinchs-mythology",
    "victor-hugo_les-miserables_isabel-f-hapgood",
)

_LEFT_OUT = frozenset(
    {
        "titlepage",
        "halftitlepage",
        "imprint",
        "colophon",
        "copyright-page",
        "endnotes",
        "footnotes",
        "toc",
        "loi",
    }
)
_BLOCKS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "p", "li", "dt", "dd", "td", "cite", "blockquote"})
_EMPTY = frozenset({"area", "br", "col", "hr", "img", "input", "link", "meta"})
# The site joins several authors or translators with "_" inside one part of the address.
_JOINED = ("jacob-grimm_wilhelm-grimm", "louise-maude_aylmer-maude")


class _Text(HTMLParser):
    """Gathers the blocks of a book's one-page edition."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[str] = []
        self._current: list[str] = []
        self._skipped = 0
        self._inside_body = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Enter the body, a block, or a part that is left out."""
        if tag == "body":
            self._inside_body = True
        elif self._skipped and tag not in _EMPTY:
            self._skipped += 1
        elif tag in {"section", "nav", "a"} and _left_out(dict(attrs)):
            self._skipped = 1
        elif tag in _BLOCKS:
            self._flush()
        elif tag == "br":
            self._current.append("\n")

    def handle_endtag(self, tag: str) -> None:
        """Leave it again."""
        if self._skipped:
            self._skipped -= tag not in _EMPTY
        elif tag in _BLOCKS or tag == "body":
            self._flush()

    def handle_data(self, data: str) -> None:
        """Text counts in the body, outside what is left out."""
        if self._inside_body and not self._skipped:
            self._current.append(data.replace("\n", " "))

    def _flush(self) -> None:
        lines = (" ".join(line.split()) for line in "".join(self._current).split("\n"))
        text = "\n".join(line for line in lines if line)
        if text:
            self.blocks.append(text)
        self._current = []


def extract(page: str) -> str:
    """The text of a one-page edition in XHTML: blocks separated by blank lines."""
    parser = _Text()
    parser.feed(page)
    parser.close()
    return "\n\n".join(parser.blocks) + "\n"


def address(book: str, site: str = SITE) -> str:
    """Where the one-page edition of ``book`` is."""
    path = book
    for joined in _JOINED:
        path = path.replace(joined, joined.replace("_", "\0"))
    return f"{site}/ebooks/{path.replace('_', '/')}/text/single-page".replace("\0", "_")


def fetch(out: Path, books: Sequence[str] = BOOKS, site: str = SITE) -> list[Path]:
    """Fetch the books that ``out`` does not hold yet; returns the files written.

    Raises OSError with the address when one cannot be had.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for book in books:
        file = out / f"{book}.txt"
        if file.exists():
            continue
        partial = file.with_suffix(".partial")
        partial.write_text(extract(_get(address(book, site))), encoding="utf-8")
        partial.replace(file)
        written.append(file)
        sys.stderr.write(f"{file} {file.stat().st_size} bytes\n")
    return written


def _get(url: str) -> str:
    request = urllib.request.Request(url, headers={"user-agent": "pequod-corpus"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as reply:
            return str(reply.read().decode("utf-8"))
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be fetched: {error}") from None


def _left_out(attributes: dict[str, str | None]) -> bool:
    kinds = set((attributes.get("epub:type") or "").split())
    return bool(kinds & _LEFT_OUT) or "noteref" in kinds or attributes.get("id") == "uncopyright"


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch all books."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="folder for the texts")
    chosen = options.parse_args(arguments)
    try:
        fetch(chosen.out)
    except OSError as error:
        options.exit(1, f"corpus: {error}\n")


if __name__ == "__main__":
    main()
