"""Filling the cache before a service starts: what is asked for is here afterwards, what is not says so."""

import logging

import pytest

from services.common.store import filling
from services.common.store.objects import ObjectLayer
from tests.unit.common.store_parts import manifest_of, ship, write_files


@pytest.fixture
def variables(tmp_path, monkeypatch):
    """The store's folders; returns the cache's."""
    monkeypatch.setenv("PEQUOD_MODELS", str(tmp_path / "shipped"))
    monkeypatch.setenv("PEQUOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PEQUOD_STORE", (tmp_path / "objects").as_uri())
    (tmp_path / "objects").mkdir()
    return tmp_path / "cache"


def test_models_of_an_object_store_come_into_the_cache(tmp_path, variables, caplog):
    caplog.set_level(logging.INFO)
    ship(tmp_path, "near")
    far = write_files(tmp_path / "far", seed=7)
    manifest = manifest_of(far, "far")
    ObjectLayer((tmp_path / "objects").as_uri(), "user", tmp_path / "elsewhere").publish(far, manifest)
    assert filling.main(["near, far:1", "near"]) == 0
    here = variables / "objects" / manifest.digest
    assert (here / "tokenizer.json").read_bytes() == (far / "tokenizer.json").read_bytes()
    lines = [record for record in caplog.records if record.message == "model is here"]
    assert [line.model for line in lines] == ["near:1", "far:1", "near:1"]
    assert lines[1].folder == str(here)


def test_an_unknown_model_ends_it_with_the_close_names(tmp_path, variables, capfd):
    ship(tmp_path, "near")
    assert filling.main(["neer"]) == filling.FAILED
    assert "near" in capfd.readouterr().err


def test_a_damaged_model_ends_it(tmp_path, variables, capfd):
    ship(tmp_path, "near")
    (tmp_path / "shipped/near/1/tokenizer.json").write_text('{"seed": 9}')
    assert filling.main(["near"]) == filling.FAILED
    assert "tokenizer.json" in capfd.readouterr().err


def test_a_bad_setting_ends_it_with_a_sentence(variables, monkeypatch, capfd):
    monkeypatch.setenv("PEQUOD_MEMORY_BUDGET", "much")
    assert filling.main(["near"]) == filling.FAILED
    assert "PEQUOD_MEMORY_BUDGET='much'" in capfd.readouterr().err
