"""Zip archives in data sets: unpacked, and every trick with them refused."""

from __future__ import annotations

import io
import struct
import zipfile

import pytest

from services.common.errors import ServiceError
from services.finetune.datasets.checking import archives
from services.finetune.datasets.dataset import BadFiles, Problem
from services.finetune.datasets.faults import quota_exceeded
from tests.unit.finetune.checks import issues, used
from tests.unit.finetune.parts import picture, zipped


def test_an_archive_is_unpacked_below_its_name(checked):
    files = {"pics.zip": zipped({"a.png": picture(1), "in/b.png": picture(2), "__MACOSX/._a.png": b"litter"})}
    outcome = checked(files)
    assert used(outcome) == ["pics/a.png", "pics/in/b.png"]
    assert outcome.report.files == 2


def test_an_archive_is_known_by_its_bytes(checked):
    assert used(checked({"pics.dat": zipped({"a.png": picture(1)})})) == ["pics.dat/a.png"]


@pytest.mark.parametrize("name", ["../evil.png", "/abs.png", "a/../../evil.png", "..\\evil.png", "a\\b.png"])
def test_members_with_tricky_paths_are_left_out(checked, tmp_path, name):
    before = set(tmp_path.parent.iterdir())
    outcome = checked({"p.zip": zipped({name: picture(1), "good.png": picture(2)})})
    assert used(outcome) == ["p/good.png"]
    assert Problem.UNSAFE_PATH in issues(outcome).values()
    assert set(tmp_path.parent.iterdir()) == before
    assert checked({"p.zip": zipped({name: picture(1)})}, bad_files=BadFiles.REFUSE).refused


def test_links_in_archives_are_left_out(checked):
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
        archive.writestr("a.png", picture(1))
    outcome = checked({"p.zip": buffer.getvalue()})
    assert used(outcome) == ["p/a.png"]
    assert issues(outcome)["p/link.png"] is Problem.UNSAFE_PATH


def test_a_bomb_is_refused_before_it_is_unpacked(checked, tmp_path):
    bomb = zipped({f"{n}.txt": b"\0" * (10 * 2**20) for n in range(8)})
    outcome = checked({"bomb.zip": bomb, "a.png": picture(1)})
    assert issues(outcome)["bomb.zip"] is Problem.ARCHIVE_BOMB
    assert used(outcome) == ["a.png"]
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_an_archive_that_lies_about_its_sizes_gives_no_more_than_it_says(checked, tmp_path):
    data = bytearray(zipped({"a.txt": b"A" * 1_000_000}))
    for at in (data.find(b"PK\x03\x04") + 22, data.find(b"PK\x01\x02") + 24):
        data[at : at + 4] = struct.pack("<I", 10)
    outcome = checked({"lie.zip": bytes(data)})
    assert outcome.refused
    assert issues(outcome) == {"lie/a.txt": Problem.CORRUPT}
    assert list((tmp_path / "unpacked").iterdir()) == []


def test_a_table_of_contents_of_any_size_is_not_read_into_memory(checked, monkeypatch):
    monkeypatch.setattr(archives, "_MOST_DIRECTORY", 1000)
    outcome = checked({"many.zip": zipped({f"{n}.txt": b"" for n in range(100)}), "a.png": picture(1)})
    assert issues(outcome)["many.zip"] is Problem.ARCHIVE_BOMB


def test_archives_in_archives_are_not_unpacked(checked):
    outcome = checked({"p.zip": zipped({"inner.zip": zipped({"a.png": picture(1)}), "b.png": picture(2)})})
    assert used(outcome) == ["p/b.png"]
    assert issues(outcome)["p/inner.zip"] is Problem.UNSUPPORTED_FORMAT


def test_encrypted_and_oddly_compressed_members_are_left_out(checked):
    data = bytearray(zipped({"a.png": picture(1)}))
    data[data.find(b"PK\x01\x02") + 8] |= 1
    assert issues(checked({"p.zip": bytes(data)})) == {"p/a.png": Problem.UNSUPPORTED_FORMAT}
    packed = zipped({"a.png": picture(1)}, zipfile.ZIP_LZMA)
    assert issues(checked({"p.zip": packed})) == {"p/a.png": Problem.UNSUPPORTED_FORMAT}


@pytest.mark.parametrize("cut", [10, 100, -10])
def test_a_broken_archive_is_named(checked, cut):
    outcome = checked({"p.zip": zipped({"a.png": picture(1)})[:cut], "b.png": picture(2)})
    assert issues(outcome)["p.zip"] is Problem.CORRUPT


def test_a_broken_member_is_named(checked):
    data = bytearray(zipped({"a.png": picture(1), "b.png": picture(2)}, zipfile.ZIP_STORED))
    data[60] ^= 0xFF
    outcome = checked({"p.zip": bytes(data)})
    assert used(outcome) == ["p/b.png"]
    assert issues(outcome)["p/a.png"] is Problem.CORRUPT


def test_an_entry_that_begins_before_the_file_is_a_broken_one(checked):
    data = bytearray(zipped({"a.png": picture(1)}))
    end = data.rindex(b"PK\x05\x06") + 16  # where the table of contents is said to begin
    struct.pack_into("<I", data, end, struct.unpack_from("<I", data, end)[0] + 500)
    outcome = checked({"p.zip": bytes(data), "b.png": picture(2)})
    assert used(outcome) == ["b.png"]
    assert issues(outcome)["p/a.png"] is Problem.CORRUPT


def test_an_entry_without_a_name_is_left_out(checked):
    data = zipped({"a": picture(1), "b.png": picture(2)})
    for begin, at in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        place = data.index(begin)
        # The name's one byte becomes one of the extra field's, which nobody reads.
        data = data[: place + at] + struct.pack("<HH", 0, 1) + data[place + at + 4 :]
    assert used(checked({"p.zip": data})) == ["p/b.png"]


def test_unpacking_asks_for_room(checked):
    asked = []

    def reserve(size: int) -> None:
        asked.append(size)
        raise quota_exceeded(size, 0, 1)

    with pytest.raises(ServiceError, match="do not fit"):
        checked({"p.zip": zipped({"a.txt": b"a" * 1000})}, reserve=reserve)
    assert asked == [1000]


def test_a_path_that_is_there_twice_counts_once(checked):
    outcome = checked({"p/a.png": picture(1), "p.zip": zipped({"a.png": picture(2)})})
    assert used(outcome) == ["p/a.png"]
    assert issues(outcome)["p.zip/a.png"] is Problem.DUPLICATE
