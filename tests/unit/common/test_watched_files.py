"""Files that are read again when they change."""

from __future__ import annotations

import logging
import os

import pytest

from services.common.stamps import Watched


@pytest.fixture
def number(tmp_path):
    """A file with a number in it."""
    file = tmp_path / "number"
    file.write_text("1")
    return file


def watched(number, reads=None):
    def read():
        if reads is not None:
            reads.append(1)
        return [int(number.read_text())]

    return Watched(
        (number, None),
        read,
        told="number read again",
        refused="number not read again",
        logger=logging.getLogger("test"),
    )


def replace(number, text):
    """As a mounted Secret is: another file under the same name."""
    other = number.with_suffix(".new")
    other.write_text(text)
    os.replace(other, number)


def test_it_is_read_once_until_it_changes(number, caplog):
    caplog.set_level(logging.INFO)
    reads = []
    files = watched(number, reads)
    assert files.newest() is files.newest()
    assert len(reads) == 1
    replace(number, "23")
    assert files.newest() == [23]
    assert files.newest() is files.newest()
    assert len(reads) == 2
    assert caplog.messages == ["number read again"]
    assert caplog.records[0].files == [str(number)]


def test_what_cannot_be_read_leaves_what_was_said_and_is_told_once(number, caplog):
    files = watched(number)
    replace(number, "twelve")
    assert files.newest() == [1]
    assert files.newest() == [1]
    assert caplog.messages == ["number not read again"]
    assert "twelve" in caplog.records[0].error
    replace(number, "12")
    assert files.newest() == [12]


def test_one_that_goes_leaves_what_was_said(number, caplog):
    files = watched(number)
    number.unlink()
    assert files.newest() == [1]
    assert caplog.messages == ["number not read again"]
    number.write_text("2")
    assert files.newest() == [2]


def test_the_first_reading_has_to_succeed(number):
    number.write_text("none")
    with pytest.raises(ValueError, match="none"):
        watched(number)
