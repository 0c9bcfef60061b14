"""The import rules that keep the tree readable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from services.common.catalogue import SERVICES

ROOT = Path(__file__).parents[2]
SERVICE_NAMES = {path.name for path in (ROOT / "services").iterdir() if path.is_dir()} - {
    "common",
    "__pycache__",
}
FILES = sorted(
    path for top in ("services", "gateway") for path in (ROOT / top).rglob("*.py") if "_pb2" not in path.name
)


def imported(path: Path) -> set[str]:
    """Every module a file imports, wherever in the file."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def under(names: set[str], package: str) -> set[str]:
    return {name for name in names if name == package or name.startswith(f"{package}.")}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_keep_to_their_side(path):
    names = imported(path)
    parts = path.relative_to(ROOT).parts
    if parts[0] == "gateway":
        assert not under(names, "torch"), "the gateway imports no torch"
        beyond = {
            name for name in under(names, "services") - {"services"} if not under({name}, "services.common")
        }
        assert not beyond, "of the services, the gateway imports common only"
        return
    assert not under(names, "gateway"), "services know no gateway"
    others = SERVICE_NAMES if parts[1] == "common" else SERVICE_NAMES - {parts[1]}
    if parts[1] != "finetune":
        for other in others:
            assert not under(names, f"services.{other}"), "a service imports common and itself"


PURE_FILES = {"engine.py", "sampling.py", "sequence.py", "scheduler.py"}
PURE_FOLDERS = {"families", "store", "runtimes"}
PURE = [path for path in FILES if path.name in PURE_FILES or PURE_FOLDERS & set(path.parts)]


@pytest.mark.parametrize("path", PURE, ids=lambda p: str(p.relative_to(ROOT)))
def test_engines_know_no_protos(path):
    names = imported(path)
    for package in ("grpc", "pequod", "google.protobuf"):
        assert not under(names, package), f"{path.name} imports {package}"


@pytest.mark.parametrize("path", sorted((ROOT / "services").rglob("servicer.py")), ids=str)
def test_servicers_hold_no_tensors(path):
    assert not (under(imported(path), "torch") | under(imported(path), "numpy"))


@pytest.mark.parametrize("module", ["gateway.app", *(f"{s.module}.__main__" for s in SERVICES)])
def test_a_process_starts_without_what_few_calls_need(module):
    """Only training and export load torch; the first model that comes from a hub loads the hub's library."""
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'huggingface_hub'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("command", ["text", "image", "jobs", "models", "status", "up"])
def test_a_command_imports_what_it_needs_alone(command):
    """Most ask the gateway: what works on databases and hubs takes three times as long to import."""
    code = (
        "import sys; from gateway.cli.app import build; from typer.main import get_command; "
        f"assert '{command}' in get_command(build('{command}')).commands; "
        "sys.exit(bool({'sqlalchemy', 'alembic', 'huggingface_hub', 'obstore', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60, cwd=ROOT).returncode == 0
