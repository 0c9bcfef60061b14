"""What the command line shows: pieces of text, tables, errors of its own."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace

import pytest
from rich.console import Console

from gateway.cli import app, embed, output, tokens
from pequod.common.v1 import Usage
from pequod.tokenizer.v1 import Embedding, EmbedResponse, Tokenization, TokenizeResponse


@pytest.mark.parametrize(
    ("piece", "shown"),
    [
        (b" use", " use"),
        ("后".encode(), "后"),
        (b"\xe5\x90", "<E5 90>"),
        (b' "\xe5\x90', ' "<E5 90>'),
        (b"\x8e\xe5\x90\x8e\x8c", "<8E>后<8C>"),
        (b"\n\r\t", "⏎␍⇥"),
        (b"\x1b[31m\x07\x7f", "␛[31m␇␡"),
        ("\u200b\u202e\x9b\u00a0".encode(), "<U+200B><U+202E><U+009B><U+00A0>"),
        (b"", ""),
    ],
)
def test_a_piece_shows_everything_that_is_in_it(piece, shown):
    assert tokens.spelling(piece) == shown


def answering(monkeypatch, module, **services):
    """Commands of ``module`` talk to ``services`` in place of a gateway."""
    client = SimpleNamespace(**services)
    monkeypatch.setattr(module, "connect", lambda: contextlib.nullcontext(client))


@pytest.fixture
def cut(monkeypatch):
    """Makes the gateway answer with these pieces."""

    def answer(*pieces):
        ids = range(7, 7 + len(pieces))
        ends = [sum(map(len, pieces[: at + 1])) for at in range(len(pieces))]
        starts = [end - len(piece) for end, piece in zip(ends, pieces, strict=True)]
        found = Tokenization(ids=ids, pieces=pieces, starts=starts, ends=ends)
        reply = TokenizeResponse(tokenizations=[found], usage=Usage(model="cl100k"))
        answering(monkeypatch, tokens, tokenizer=SimpleNamespace(Tokenize=lambda request: reply))

    return answer


def terminal(monkeypatch, **settings):
    console = Console(force_terminal=True, highlight=False, _environ={}, **settings)
    monkeypatch.setattr(output, "console", lambda: console)


def test_without_a_terminal_bars_stand_between_tokens(cut, capsys):
    cut(b"Call", b" me", b"\n")
    assert app.run(["tokens", "x"]) == 0
    assert capsys.readouterr().out == "Call| me|⏎\n3 tokens (cl100k)\n"


def test_in_a_terminal_neighbours_have_different_backgrounds(cut, capsys, monkeypatch):
    cut(b"Call", b" [me]", b"\n", b"x")
    terminal(monkeypatch, color_system="standard")
    assert app.run(["tokens", "x"]) == 0
    shown = capsys.readouterr().out
    assert "\x1b[30;106mCall\x1b[0m\x1b[30;103m [me]\x1b[0m" in shown
    assert shown.count("\n") == 3, "a line end is shown and made"


def test_a_terminal_without_colours_gets_bars(cut, capsys, monkeypatch):
    cut(b"Call", b" me")
    terminal(monkeypatch, no_color=True)
    assert app.run(["tokens", "x"]) == 0
    assert capsys.readouterr().out.startswith("Call| me\n")


def test_the_table_marks_spaces_that_cannot_be_seen(cut, capsys):
    cut(b" a b ", b"   ", b"[/b]")
    assert app.run(["tokens", "--table", "x"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:4]]
    assert rows == [["7", "·a", "b·", "0..5"], ["8", "···", "5..8"], ["9", "[/b]", "8..12"]]


def test_ids_stand_alone(cut, capsys):
    cut(b"a", b"b")
    assert app.run(["tokens", "--ids-only", "x"]) == 0
    assert capsys.readouterr().out == "7 8\n"


@pytest.fixture
def embedded(monkeypatch):
    """Makes the gateway answer with as many vectors as texts."""

    def reply(request):
        vectors = [Embedding(values=[1.0, float(at)]) for at in range(len(request.inputs))]
        return EmbedResponse(embeddings=vectors, dimensions=2)

    answering(monkeypatch, embed, embeddings=SimpleNamespace(Embed=reply))


def test_texts_are_shown_as_they_are_on_one_line(embedded, capsys):
    assert app.run(["embed", "[red]a[/]\nb", "[/x] :smile:"]) == 0
    shown = capsys.readouterr().out
    assert "[red]a[/] b" in shown
    assert "[/x] :smile:" in shown
    assert shown.splitlines()[-1].split()[-2:] == ["0.707", "1.000"]


def test_pictures_come_after_texts_under_their_names(monkeypatch, tmp_path, capsys):
    asked = []

    def reply(request):
        asked.extend(request.inputs)
        return EmbedResponse(embeddings=[Embedding(values=[1.0, 0.0])] * len(request.inputs), dimensions=2)

    answering(monkeypatch, embed, embeddings=SimpleNamespace(Embed=reply))
    (tmp_path / "face.png").write_bytes(b"a picture")
    assert app.run(["embed", "--image", str(tmp_path / "face.png"), "a face"]) == 0
    assert [(each.text, each.image.data) for each in asked] == [("a face", b""), ("", b"a picture")]
    assert "face.png" in capsys.readouterr().out


def test_many_texts_fit_a_narrow_terminal(embedded, capsys):
    assert app.run(["embed", *["a long text that goes on and on"] * 9]) == 0
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + 9 + 1 + 1 + 9, "no row is broken"
    assert "2 more columns are not shown" in told.err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["nothing"], "nothing"),
        (["rank"], "query"),
        (["serve", "nothing"], "nothing"),
        (["embed", "--dimensions", "4294967296", "a"], "--dimensions"),
        (["embed", "--precision", "int4", "a"], "--precision"),
        (["embed", "--image", "/there/is/no.png"], "no.png"),
        (["embed"], "--image"),
        (["tokens", "\udcff"], "UTF-8"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments, part, capsys):
    assert app.run(arguments) == 2
    assert part in capsys.readouterr().err


def test_the_table_of_addresses_ends_with_three_commands(capsys):
    output.addresses([("gateway gRPC", "127.0.0.1:50051", "every service")], 1.5)
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    tried = [line for line in lines if line.startswith(".venv/bin/pequod ")]
    assert [line.split()[1] for line in tried] == ["text", "tokens", "image"]
    assert tried[1].endswith(r'''"Who'd use \"后\" vs. \"後\"?"''')
