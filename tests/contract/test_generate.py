"""The stub generator: complete, repeatable, prunes, and never leaves half of it."""

from __future__ import annotations

import importlib.util
import shutil

import pytest
from descriptors import PROTOS


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate", PROTOS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def protos(tmp_path):
    """A copy of the protos without their stubs."""
    wanted = {"pequod", "inference"}

    def unwanted(folder, names):
        if folder == str(PROTOS):
            return set(names) - wanted
        return {name for name in names if name.endswith((".py", ".pyi"))}

    return shutil.copytree(PROTOS, tmp_path / "protos", ignore=unwanted)


def stubs(root):
    kept = (p for p in root.rglob("*.py*") if p.name != "py.typed" and p.suffix != ".pyc")
    return {p.relative_to(root): p.read_bytes() for p in kept}


def test_makes_what_is_imported_here(generator, protos):
    assert generator.generate(protos) > 0
    kept = {path: text for path, text in stubs(PROTOS).items() if path.parts[0] in generator.PACKAGES}
    compiled = {path: text for path, text in kept.items() if "__pycache__" not in path.parts}
    assert stubs(protos) == compiled


def test_second_time_changes_nothing(generator, protos):
    generator.generate(protos)
    before = {path: (protos / path).stat().st_mtime_ns for path in stubs(protos)}
    assert generator.generate(protos) == 0
    assert before == {path: (protos / path).stat().st_mtime_ns for path in stubs(protos)}


def test_stubs_of_a_proto_that_is_gone_go_too(generator, protos):
    generator.generate(protos)
    (protos / "pequod/gan/v1/gan.proto").unlink()
    generator.generate(protos)
    assert not any("gan" in path.parts for path in stubs(protos))
    assert any("sampler" in path.parts for path in stubs(protos))


def test_a_mistake_leaves_the_old_stubs(generator, protos, capfd):
    generator.generate(protos)
    before = stubs(protos)
    sampler = protos / "pequod/sampler/v1/sampler.proto"
    sampler.write_text(sampler.read_text().replace("string model = 1;", "string model = ;", 1))
    with pytest.raises(SystemExit, match="protoc failed"):
        generator.generate(protos)
    assert "sampler.proto" in capfd.readouterr().err
    assert stubs(protos) == before


def test_works_without_the_type_plugin(generator, protos, monkeypatch):
    monkeypatch.setattr(generator.shutil, "which", lambda name, path: None)
    generator.generate(protos)
    made = stubs(protos)
    assert not any(path.suffix == ".pyi" for path in made)
    assert any(path.name == "sampler_pb2_grpc.py" for path in made)
