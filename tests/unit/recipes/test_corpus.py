"""The corpus: fetched as plain text, and the shipped models are what the recipes make of it."""

import http.server
import os
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from services.common.store import Manifest
from services.finetune.recipes import corpus, infinigram, ngram

MODELS = Path(__file__).parents[3] / "models"
PAGE = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>No</title></head>
<body>
<section id="titlepage" epub:type="titlepage"><h1>Title</h1><img src="x.svg"/><p>By no one</p></section>
<section epub:type="chapter"><h2>Loomings</h2>
<p>Call me <i>Ishmael</i>.<a href="#n1" epub:type="noteref">1</a> Some
years ago&#8212;never mind</p>
<blockquote><p><span>one line</span><br/><span>another</span></p></blockquote></section>
<section epub:type="endnotes"><ol><li><p>A note.</p></li></ol></section>
<section id="uncopyright"><p>Legal.</p></section>
</body></html>"""


class Site(http.server.BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        found = "moby" in self.path
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(PAGE.encode() if found else b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_text_without_notes_and_publishers_pages():
    assert (
        corpus.extract(PAGE)
        == "Loomings\n\nCall me Ishmael. Some years ago—never mind\n\none line\nanother\n"
    )


def test_books_are_fetched_once_and_whole(tmp_path, site):
    Site.asked.clear()
    books = ["herman-melville_moby-dick"]
    (written,) = corpus.fetch(tmp_path, books, site)
    assert written.read_text().startswith("Loomings\n\nCall me Ishmael.")
    assert corpus.fetch(tmp_path, books, site) == []
    assert Site.asked == ["/ebooks/herman-melville/moby-dick/text/single-page"]


def test_a_book_that_cannot_be_had_is_named_and_leaves_no_file(tmp_path, site):
    with pytest.raises(OSError, match="bram-stoker/dracula"):
        corpus.fetch(tmp_path, ["bram-stoker_dracula"], site)
    assert list(tmp_path.iterdir()) == []


def test_several_translators_stay_one_part_of_the_address():
    found = corpus.address("leo-tolstoy_war-and-peace_louise-maude_aylmer-maude")
    assert found.endswith("/leo-tolstoy/war-and-peace/louise-maude_aylmer-maude/text/single-page")


@pytest.fixture(scope="module")
def moby():
    folder = os.environ.get("PEQUOD_CORPUS")
    file = Path(folder or "") / "herman-melville_moby-dick.txt"
    if not folder or not file.exists():
        pytest.skip(
            "PEQUOD_CORPUS names no folder with herman-melville_moby-dick.txt (make corpus fetches it)"
        )
    return ngram.read_corpus(file, "*")


@pytest.mark.parametrize(("name", "recipe"), [("moby-ngram", ngram), ("moby-unbounded", infinigram)])
def test_the_shipped_models_are_what_the_recipes_make(tmp_path, moby, name, recipe):
    shipped = Manifest.model_validate_json((MODELS / name / "1" / "model.json").read_text())
    made = recipe.train(moby, tmp_path / name / "1")
    assert made.files == shipped.files, "the same bytes"
    assert made.config == shipped.config
