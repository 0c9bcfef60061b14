"""Exports of model versions: kept under the digest, checked when used again, made once."""

import json
import sys
import threading
from datetime import UTC, datetime
from types import ModuleType

import pytest
import torch

from services.common.errors import Reason, ServiceError
from services.common.export import GraphSpec, verify
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.store import Kind, Manifest, ModelVersion
from tests.unit.common.tiny_modules import Noisy, picture_spec


def model_version(family="tiny"):
    manifest = Manifest(
        name="tiny-picture",
        version="1",
        kind=Kind.UPSCALER,
        family=family,
        created=datetime(2026, 1, 2, tzinfo=UTC),
    )
    return ModelVersion(manifest, layer="user")


class Counting:
    """A graphs function that counts its calls."""

    def __init__(self, make=picture_spec):
        self.calls = 0
        self._make = make

    def __call__(self, version, folder):
        self.calls += 1
        return {"model": self._make()}


def quiet(done, total, message):
    """No report."""


def test_the_store_exporter_keeps_an_export_under_the_versions_digest(tmp_path):
    graphs = Counting()
    exporter = StoreExporter(tmp_path, graphs)
    version = model_version()
    first = exporter.export(version, tmp_path, "torchscript", False, quiet)
    assert first.location == tmp_path / "exports" / version.digest / "torchscript"
    assert not first.reused
    assert [entry.path for entry in first.files] == ["tiny-picture.pt"]
    assert [figure.output for figure in first.parity] == ["image2x"]
    assert json.loads((first.location / "export.json").read_text())["source"] == version.digest
    again = exporter.export(version, tmp_path, "torchscript", False, quiet)
    assert again.reused
    assert (again.location, again.files, again.parity) == (first.location, first.files, first.parity)
    assert graphs.calls == 1
    forced = exporter.export(version, tmp_path, "torchscript", True, quiet)
    assert not forced.reused
    assert graphs.calls == 2


@pytest.mark.parametrize(
    ("name", "file"),
    [("hf:owner/tiny.v2", "tiny.v2"), ("file:/data/my model/", "my-model"), ("tiny", "tiny")],
)
def test_files_are_named_after_the_last_part_of_a_reference(tmp_path, name, file):
    version = model_version()
    named = ModelVersion(version.manifest.model_copy(update={"name": name}), "hub")
    exported = StoreExporter(tmp_path, Counting()).export(named, tmp_path, "torchscript", False, quiet)
    assert [entry.path for entry in exported.files] == [f"{file}.pt"]


def test_a_damaged_kept_export_is_made_again(tmp_path):
    exporter = StoreExporter(tmp_path, Counting())
    first = exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    (first.location / "tiny-picture.pt").write_bytes(b"garbage")
    again = exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    assert not again.reused
    assert verify(again.location).files == again.files


def test_two_callers_at_once_export_once(tmp_path):
    graphs = Counting()
    exporter = StoreExporter(tmp_path, graphs)
    results = []
    callers = [
        threading.Thread(
            target=lambda: results.append(
                exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
            )
        )
        for _ in range(2)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert sorted(result.reused for result in results) == [False, True]
    assert graphs.calls == 1


def test_a_failed_store_export_leaves_nothing(tmp_path):
    exporter = StoreExporter(tmp_path, Counting(lambda: GraphSpec(Noisy(), {"x": torch.rand(2, 4)}, ("y",))))
    with pytest.raises(ServiceError) as caught:
        exporter.export(model_version(), tmp_path, "torchscript", False, quiet)
    assert caught.value.reason is Reason.PARITY_FAILED
    assert not list(tmp_path.rglob("*.pt"))
    assert not list((tmp_path / "exports").rglob("export.json"))


@pytest.fixture
def tiny_families(tmp_path, monkeypatch):
    folder = tmp_path / "tiny_families"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "plain.py").write_text("")
    (folder / "graphed.py").write_text(
        "def graphs(config, folder):\n    return {'model': (config, folder)}\n"
    )
    package = ModuleType("tiny_families")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "tiny_families", package)
    yield package
    for name in ("tiny_families.plain", "tiny_families.graphed"):
        sys.modules.pop(name, None)


def test_graphs_come_from_the_versions_family(tiny_families, tmp_path):
    graphs = family_graphs(tiny_families)
    assert graphs(model_version("graphed"), tmp_path) == {"model": ({}, tmp_path)}
    with pytest.raises(ServiceError, match="tiny-picture:1: family 'plain' has no graph to export"):
        graphs(model_version("plain"), tmp_path)
    with pytest.raises(ServiceError, match="no family 'absent'"):
        graphs(model_version("absent"), tmp_path)
