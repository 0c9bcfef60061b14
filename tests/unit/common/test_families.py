"""Families are found by file name, imported on demand, and nothing else can be imported that way."""

import importlib
import sys

import pytest

from services.common import families
from services.common.errors import Code, Reason, ServiceError


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with two families and a private helper, importable for the length of a test."""
    folder = tmp_path / "shapes"
    folder.mkdir()
    for file in ("__init__", "circle", "square", "_helper"):
        (folder / f"{file}.py").write_text(f"NAME = {file!r}\n")
    (folder / "notes.txt").write_text("not code\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("shapes")
    for name in [name for name in sys.modules if name.partition(".")[0] == "shapes"]:
        del sys.modules[name]


def test_names_lists_public_files_without_importing_them(package):
    assert families.names(package) == ["circle", "square"]
    assert "shapes.circle" not in sys.modules


def test_load_imports_only_the_one_asked_for(package):
    assert families.load(package, "circle").NAME == "circle"
    assert "shapes.square" not in sys.modules


def test_a_name_with_a_hyphen_has_a_file_with_an_underscore(package, tmp_path):
    (tmp_path / "shapes" / "half_moon.py").write_text("NAME = 'half-moon'\n")
    importlib.invalidate_caches()
    assert families.load(package, "half-moon").NAME == "half-moon"


def test_a_new_file_is_found_at_once(package, tmp_path):
    families.names(package)
    (tmp_path / "shapes" / "triangle.py").write_text("NAME = 'triangle'\n")
    importlib.invalidate_caches()
    assert families.load(package, "triangle").NAME == "triangle"


@pytest.mark.parametrize(
    "name", ["../os", "os", "", ".", "..", "circle.NAME", "circle/../square", "_helper", "notes", "__init__"]
)
def test_any_other_name_is_refused_with_the_list(package, name):
    with pytest.raises(ServiceError, match="known families: circle, square") as caught:
        families.load(package, name)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSUPPORTED)


def test_an_error_inside_a_family_is_not_hidden(package, tmp_path):
    (tmp_path / "shapes" / "broken.py").write_text("import no_such_module_anywhere\n")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        families.load(package, "broken")


def test_an_empty_package_says_so(tmp_path, monkeypatch):
    (tmp_path / "bare_shapes").mkdir()
    (tmp_path / "bare_shapes" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("bare_shapes")
    try:
        with pytest.raises(ServiceError, match="known families: none"):
            families.load(package, "circle")
    finally:
        del sys.modules["bare_shapes"]
