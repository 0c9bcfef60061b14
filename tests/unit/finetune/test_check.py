"""The check by itself: pictures, captions, texts, conversations, archives, and everything wrong with them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from services.finetune.datasets.checking.check import Wanted, check
from services.finetune.datasets.checking.items import Item
from services.finetune.datasets.dataset import BadFiles, Kind, Problem, Progress
from tests.unit.finetune.checks import WORDS, any_size, issues, used
from tests.unit.finetune.parts import chat, picture


def lines(*values: object) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def test_pictures_are_counted_with_their_formats_and_sizes(checked):
    outcome = checked(
        {
            "a.png": picture(1, (40, 20)),
            "b.jpg": picture(2, (64, 64), "JPEG"),
            "c.webp": picture(3, kind="WEBP"),
        }
    )
    report = outcome.report
    assert (outcome.kind, outcome.refused) == (Kind.IMAGES, "")
    assert (report.files, report.examples, report.skipped_files) == (3, 3, 0)
    assert report.formats == {"png": 1, "jpeg": 1, "webp": 1}
    assert (report.min_width, report.min_height) == (32, 20)
    assert (report.max_width, report.max_height) == (64, 64)
    assert report.captions_missing == 3
    assert set(issues(outcome).values()) == {Problem.NO_CAPTION}


def test_captions_come_from_texts_of_the_same_name_and_from_a_list(checked):
    outcome = checked(
        {
            "a.png": picture(1),
            "a.txt": b"a red cat\n",
            "sub/b.png": picture(2),
            "sub/captions.jsonl": lines({"file": "b.png", "caption": "two dogs"}),
            "c.png": picture(3),
        }
    )
    assert used(outcome) == ["a.png", "a.txt", "c.png", "sub/b.png", "sub/captions.jsonl"]
    assert outcome.report.examples == 3
    assert outcome.report.captions_missing == 1
    assert outcome.report.tokens == 5
    assert outcome.report.token_encoding == "words:1"
    assert issues(outcome) == {"c.png": Problem.NO_CAPTION}


def test_bad_lines_of_a_list_of_captions_are_named_by_number(checked):
    good, other = {"file": "a.png", "caption": "good"}, {"file": "none.png", "caption": "x"}
    listed = lines(good) + b"\n" + lines({"file": "a.png"}, other) + b"no\n"
    outcome = checked({"a.png": picture(1), "captions.jsonl": listed})
    assert [(i.line, i.problem) for i in outcome.report.issues] == [
        (3, Problem.MALFORMED_LINE),
        (5, Problem.MALFORMED_LINE),
        (4, Problem.MALFORMED_LINE),
    ]
    assert outcome.report.captions_missing == 0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (picture(1)[:-30], Problem.CORRUPT),
        (picture(1)[:60] + b"\0" * 60 + picture(1)[120:], Problem.CORRUPT),
        (b"\x89PNG\r\n\x1a\n" + b"junk" * 20, Problem.CORRUPT),
        (b"I am a text, not a picture.", Problem.UNSUPPORTED_FORMAT),
        (b"", Problem.CORRUPT),
        (picture(1, (3, 3)), Problem.TOO_SMALL),
        (picture(1, (500, 3)), Problem.TOO_SMALL),
        (b"GIF89a" + b"\0" * 30, Problem.UNSUPPORTED_FORMAT),
    ],
    ids=["cut", "damaged", "header", "text", "empty", "3-pixels", "thin", "gif"],
)
def test_one_bad_picture_among_good_ones_is_left_out_and_named(checked, data, problem):
    files = {"a.png": picture(2), "bad.png": data, "c.png": picture(3)}
    outcome = checked(files)
    assert used(outcome) == ["a.png", "c.png"]
    assert outcome.report.skipped_files == 1
    assert issues(outcome)["bad.png"] is problem
    strict = checked(files, bad_files=BadFiles.REFUSE)
    assert strict.refused.startswith("bad.png ")
    assert strict.used == ()


def test_a_picture_of_too_many_pixels_is_left_out_before_it_is_decoded(checked):
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    outcome = checked({"bomb.png": buffer.getvalue(), "a.png": picture(1)})
    assert len(buffer.getvalue()) < 20_000
    assert issues(outcome)["bomb.png"] is Problem.TOO_LARGE


def test_texts_passed_as_pictures_leave_nothing(checked):
    outcome = checked({"a.png": b"words", "b.txt": b"more words"}, kind=Kind.IMAGES)
    assert outcome.refused.startswith("no pictures that could be used among 2 files; a.png ")
    assert set(issues(outcome).values()) == {Problem.UNSUPPORTED_FORMAT}


def test_equal_pictures_count_once_and_never_refuse(checked):
    outcome = checked(
        {"a.png": picture(1), "b.png": picture(1), "c.png": picture(2)}, bad_files=BadFiles.REFUSE
    )
    assert used(outcome) == ["a.png", "c.png"]
    assert outcome.report.duplicates == 1
    duplicate = next(i for i in outcome.report.issues if i.problem is Problem.DUPLICATE)
    assert (duplicate.path, duplicate.other_path, duplicate.skipped) == ("b.png", "a.png", True)


def test_equal_pictures_with_other_captions_are_other_examples(checked):
    outcome = checked({"a.png": picture(1), "a.txt": b"one", "b.png": picture(1), "b.txt": b"two"})
    assert outcome.report.examples == 2
    assert outcome.report.duplicates == 0


def test_nearly_equal_pictures_are_named_and_used(checked):
    again = io.BytesIO()
    Image.open(io.BytesIO(picture(1, (64, 64)))).resize((60, 60)).save(again, "JPEG", quality=90)
    outcome = checked(
        {"a.png": picture(1, (64, 64)), "b.jpg": again.getvalue(), "c.png": picture(2, (64, 64))}
    )
    near = [i for i in outcome.report.issues if i.problem is Problem.NEAR_DUPLICATE]
    assert [(i.path, i.other_path, i.skipped) for i in near] == [("b.jpg", "a.png", False)]
    assert outcome.report.examples == 3


def test_flat_pictures_of_other_colours_are_not_alike(checked):
    files = {}
    for name, colour in {"red": (255, 0, 0), "blue": (0, 0, 255)}.items():
        buffer = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
        files[f"{name}.png"] = buffer.getvalue()
    assert Problem.NEAR_DUPLICATE not in issues(checked(files)).values()


def test_likeness_finds_each_copy_among_many(checked):
    shades = np.random.default_rng(5)
    files = {f"{n:03d}.png": picture(n) for n in range(60)}
    for n in range(0, 60, 10):
        pixels = np.asarray(Image.open(io.BytesIO(picture(n)))).astype(int)
        noisy = np.clip(pixels + shades.integers(-2, 3, pixels.shape), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noisy).save(buffer, "PNG")
        files[f"x{n:03d}.png"] = buffer.getvalue()
    outcome = checked(files)
    near = {i.path: i.other_path for i in outcome.report.issues if i.problem is Problem.NEAR_DUPLICATE}
    assert near == {f"x{n:03d}.png": f"{n:03d}.png" for n in range(0, 60, 10)}


def test_texts_are_documents_and_lines(checked):
    outcome = checked({"book.txt": b"Call me Ishmael.", "more.jsonl": lines({"text": "a b"}, {"text": "c"})})
    assert outcome.kind is Kind.TEXT
    assert (outcome.report.examples, outcome.report.tokens) == (3, 6)
    assert outcome.report.formats == {"txt": 1, "jsonl": 1}


def test_conversations_are_found_from_their_lines(checked):
    outcome = checked({"talk.jsonl": chat("hello there", "hi") + chat("one", "two three", "four", "five")})
    assert outcome.kind is Kind.CHAT
    assert (outcome.report.examples, outcome.report.tokens) == (2, 8)


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b"{", "is not JSON"),
        (b"[1]", "no JSON object"),
        (b'{"text": ""}', '"text"'),
        (b'{"text": 7}', '"text"'),
        (b'{"txt": "a"}', '"text"'),
        (b'{"text": "\\ud800"}', "surrogate"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"text": "' + b"a" * (4 * 2**20) + b'"}', "more than"),
    ],
    ids=["cut", "array", "empty", "number", "other-field", "half-character", "deep", "long"],
)
def test_a_bad_line_of_texts_is_named_with_its_number(checked, line, part):
    files = {"t.jsonl": b'{"text": "good"}\n\n' + line + b'\n{"text": "good too"}\n'}
    outcome = checked(files, kind=Kind.TEXT)
    assert outcome.report.examples == 2
    [issue] = outcome.report.issues
    assert (issue.path, issue.line, issue.problem, issue.skipped) == (
        "t.jsonl",
        3,
        Problem.MALFORMED_LINE,
        False,
    )
    assert part in issue.message
    assert "t.jsonl, line 3," in checked(files, kind=Kind.TEXT, bad_files=BadFiles.REFUSE).refused


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ({"messages": []}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "robot"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [{"role": "user", "content": "x"}]}, "assistant"),
        ({"text": "x"}, "messages"),
    ],
)
def test_a_bad_conversation_is_named_with_its_number(checked, value, part):
    outcome = checked({"t.jsonl": chat("a", "b") + lines(value)}, kind=Kind.CHAT)
    [issue] = outcome.report.issues
    assert issue.line == 2
    assert part in issue.message


def test_bytes_that_are_no_utf8_are_named(checked):
    files = {
        "bad.txt": b"one\ntwo \xff",
        "good.txt": b"text",
        "l.jsonl": b'{"text": "\xff"}\n{"text": "a"}\n',
    }
    outcome = checked(files)
    assert used(outcome) == ["good.txt", "l.jsonl"]
    found = {(i.path, i.line, i.problem) for i in outcome.report.issues}
    assert found == {("bad.txt", 0, Problem.INVALID_UTF8), ("l.jsonl", 1, Problem.INVALID_UTF8)}
    assert "line 2" in next(i.message for i in outcome.report.issues if i.path == "bad.txt")


def test_issues_are_listed_up_to_a_thousand_and_all_counted(checked):
    outcome = checked({f"{n:04d}.txt": b" " for n in range(1100)} | {"good.txt": b"text"})
    assert len(outcome.report.issues) == 1000
    assert outcome.report.issue_count == outcome.report.skipped_files == 1100
    assert outcome.report.files == 1101


def test_files_of_no_known_kind_are_refused(checked):
    outcome = checked({"a.exe": b"MZ", "b": b"\0"})
    assert outcome.refused.startswith("no pictures, texts or conversations")
    assert outcome.report.formats == {"exe": 1, "other": 1}


def test_one_line_is_enough_to_stop(tmp_path):
    part = tmp_path / "part"
    part.write_bytes(picture(1))

    def stop(progress: Progress) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        check(
            [Item("a.png", part, part.stat().st_size)],
            Path(tmp_path / "u"),
            Wanted(Kind.UNKNOWN, BadFiles.SKIP, any_size),
            WORDS,
            stop,
        )
