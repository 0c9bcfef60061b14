"""README and `make help` say what is there: targets, paths, variables, commands."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
import re
from pathlib import Path

import pytest
import typer.main

import gateway
import services
from gateway.cli.app import build
from services.common.catalogue import SERVICES
from services.common.settings import variables

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
# Read by the command line, the Makefile and the tests, not by a process.
OTHER_VARIABLES = {
    *("PEQUOD_TARGET", "PEQUOD_API_KEY", "PEQUOD_TLS_CA"),
    *("PEQUOD_CORPUS", "PEQUOD_TEST_DATABASE_URL", "PEQUOD_TEST_BASE_IMAGE", "PEQUOD_TEST_TORCH_INDEX"),
}


def settings_variables() -> set[str]:
    """The variables of every settings class of every process."""
    found: set[str] = set()
    for package in (services, gateway):
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("__main__"):
                found |= _variables_of(importlib.import_module(info.name))
    return found


def _variables_of(module) -> set[str]:
    classes = [value for value in vars(module).values() if isinstance(value, type)]
    own = [c for c in classes if dataclasses.is_dataclass(c) and c.__module__ == module.__name__]
    names = [s.name for s in SERVICES]
    return {name for c in own for prefix in getattr(c, "PREFIXES", names) for name in variables(c, prefix)}


def test_every_variable_is_in_the_readme_and_every_one_there_is_read():
    shown = set(re.findall(r"(?:PEQUOD|OTEL)_[A-Z_]+[A-Z]", README))
    assert shown == settings_variables() | OTHER_VARIABLES


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", README))))
def test_every_make_target_in_the_readme_exists(target):
    assert re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE)


@pytest.mark.parametrize("target", re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
def test_every_target_is_phony(target):
    declared = re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)
    assert target in declared.group(1).replace("\\\n", " ").split()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.[a-z]+)?)`", README))))
def test_every_path_in_the_readme_exists(path):
    if not path.startswith(("var/", "dist/", "families/", "ngrams/")):
        assert (ROOT / path).exists(), path


def test_every_command_in_the_readme_exists():
    commands = set(typer.main.get_command(build()).commands)
    used = set(re.findall(r"\.venv/bin/pequod ([a-z]+)", README))
    assert used
    assert used <= commands


@pytest.mark.parametrize("version", sorted(set(re.findall(r"(?<![\w/])models/[a-z0-9-]+/\d+", README))))
def test_every_shipped_version_in_the_readme_exists(version):
    assert (ROOT / version).is_dir()


RECIPE = re.compile(r"-m (services\.finetune\.recipes\.[\w.]+)((?:[^\n`]*\\\n)*[^\n`]*)")


@pytest.mark.parametrize(("module", "rest"), sorted(set(RECIPE.findall(README))))
def test_every_option_of_a_recipe_in_the_readme_exists(module, rest, capsys):
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    known = set(re.findall(r"--[a-z][a-z0-9-]*", capsys.readouterr().out))
    assert set(re.findall(r"--[a-z][a-z0-9-]*", rest.partition("#")[0])) <= known
