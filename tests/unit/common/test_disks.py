"""Room on disks: asked of the system at each scrape, of folders that are not there yet too."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.common import disks
from services.common.disks import DiskCollector, Room, room_of


class Disk:
    """Stands for statvfs: 1000 blocks of 4096 bytes, 50 of them root's; some folders do not answer."""

    def __init__(self, monkeypatch):
        self.free, self.broken, self.asked = 300, set(), []
        monkeypatch.setattr(disks.os, "statvfs", self)

    def __call__(self, folder):
        self.asked.append(folder)
        if folder.name in self.broken:
            raise OSError(5, "Input/output error")
        return os.statvfs_result((1, 4096, 1000, self.free, self.free - 50, 0, 0, 0, 0, 255))


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def registry_of(**folders):
    registry = CollectorRegistry()
    registry.register(DiskCollector(folders))
    return registry


def value(registry, name, folder):
    return registry.get_sample_value(f"pequod_disk_{name}_bytes", {"folder": folder})


def test_the_room_is_that_of_the_real_disk(tmp_path):
    found, told = room_of(tmp_path), shutil.disk_usage(tmp_path)
    assert found.size == pytest.approx(told.used + told.free, rel=0.01)
    assert found.free == pytest.approx(told.free, rel=0.01)
    assert 0 < found.free < found.size


def test_what_root_keeps_for_itself_is_no_room(tmp_path, disk):
    assert room_of(tmp_path) == Room(free=250 * 4096, size=950 * 4096)
    disk.free = 50
    assert room_of(tmp_path).free == 0


def test_a_folder_that_is_not_there_yet_will_be_on_the_disk_of_the_one_above(tmp_path, disk):
    room_of(tmp_path / "models/mine")
    (tmp_path / "models").mkdir()
    room_of(tmp_path / "models/mine")
    (tmp_path / "models/mine").mkdir()
    room_of(tmp_path / "models/mine")
    assert disk.asked == [tmp_path, tmp_path / "models", tmp_path / "models/mine"]


def test_a_folder_named_from_here_is_found(tmp_path, monkeypatch, disk):
    monkeypatch.chdir(tmp_path)
    room_of(Path("var/cache"))
    assert disk.asked == [tmp_path]


def test_each_scrape_asks_anew(tmp_path, disk):
    registry = registry_of(store=tmp_path, cache=tmp_path)
    assert not disk.asked, "nobody has scraped yet"
    assert value(registry, "free", "store") == value(registry, "free", "cache") == 250 * 4096
    disk.free = 60
    assert value(registry, "free", "store") == 10 * 4096
    assert value(registry, "size", "store") == 950 * 4096


def test_a_disk_that_fails_is_a_gap_beside_the_others_and_told_once(tmp_path, disk, caplog):
    (tmp_path / "away").mkdir()
    registry = registry_of(store=tmp_path / "away", cache=tmp_path)
    disk.broken = {"away"}
    for _ in range(3):
        assert value(registry, "free", "store") is None
        assert value(registry, "free", "cache") == 250 * 4096
    assert caplog.messages == ["disk not asked"]
    disk.broken = set()
    assert value(registry, "free", "store") == 250 * 4096
    disk.broken = {"away"}
    assert value(registry, "free", "store") is None
    assert caplog.messages == ["disk not asked"] * 2


def test_a_disk_that_hangs_hangs_one_scrape(tmp_path, monkeypatch, disk):
    hanging, release = threading.Event(), threading.Event()

    def hang(folder):
        hanging.set()
        assert release.wait(30)
        return disk(folder)

    monkeypatch.setattr(disks.os, "statvfs", hang)
    registry, texts = registry_of(store=tmp_path), []
    first = threading.Thread(target=lambda: texts.append(generate_latest(registry).decode()))
    first.start()
    assert hanging.wait(30)
    second = generate_latest(registry).decode()
    assert "# TYPE pequod_disk_free_bytes gauge" in second
    assert "pequod_disk_free_bytes{" not in second
    release.set()
    first.join(30)
    assert 'pequod_disk_free_bytes{folder="store"}' in texts[0]
    assert value(registry, "free", "store") == 250 * 4096


def test_where_nothing_is_written_there_are_names_and_no_figures():
    text = generate_latest(registry_of()).decode()
    assert "# TYPE pequod_disk_size_bytes gauge" in text
    assert "{" not in text
