"""The lock is exact: what is installed here stands in it, at the same version."""

from importlib import metadata
from pathlib import Path

import pytest

LOCK = Path(__file__).parents[2] / "deploy" / "requirements.lock"
# torch's own wheels bring these on machines with another build of it; torch pins them itself.
BROUGHT_BY_TORCH = ("nvidia-", "triton", "cuda-")
ENVIRONMENT = {"pip", "setuptools", "wheel", "pequod"}


def canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def locked() -> dict[str, str]:
    lines = [line.split("==") for line in LOCK.read_text().splitlines() if "==" in line]
    return {canonical(name): version for name, version in lines}


def test_every_line_is_an_exact_version():
    for line in LOCK.read_text().splitlines():
        assert line.startswith("#") or line.count("==") == 1, line


def test_what_is_installed_is_what_is_locked():
    versions = locked()
    for distribution in metadata.distributions():
        name = canonical(distribution.metadata["Name"])
        if name in ENVIRONMENT or name.startswith(BROUGHT_BY_TORCH):
            continue
        assert versions.get(name) == distribution.version.split("+")[0], name


def test_only_one_build_of_onnxruntime_is_installed():
    found = {canonical(d.metadata["Name"]) for d in metadata.distributions()}
    if not found & {"onnxruntime", "onnxruntime-gpu"}:
        pytest.fail("no ONNX Runtime is installed")
    assert len(found & {"onnxruntime", "onnxruntime-gpu"}) == 1
