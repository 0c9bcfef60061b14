"""What set-up makes of a shipped language model is all that serving it needs: torch is not loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from services.common.store import Kind, ModelStore
from services.finetune.recipes.version import Corpus, publish
from tests.unit.sampler import language_models as tiny

ROOT = Path(__file__).parents[3]

SERVE = """
import asyncio, sys
from pathlib import Path
from services.common.store import ModelStore
from services.common.store.disk import DiskLayer
from services.sampler.loader import EngineLoader

models, cache = map(Path, sys.argv[1:])
store = ModelStore([DiskLayer(models, "shipped", writable=False)], cache, kept=[models])
version = asyncio.run(store.resolve("tiny"))
engine = EngineLoader(store).load(version, asyncio.run(store.fetch(version)))
EngineLoader(store).warm_up(engine)
sys.exit("torch" in sys.modules)
"""


def prepare(models: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "services.sampler.prepare", "--models", str(models)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
def test_a_prepared_model_is_served_without_torch(tmp_path):
    models = tmp_path / "models"
    folder = tiny.write("llama", models / "tiny" / "1")
    publish(Corpus([]), folder, Kind.LANGUAGE_MODEL, "llama", {}, {})
    done = prepare(models)
    assert (done.returncode, done.stdout) == (0, "tiny:1 is ready\n"), done.stderr
    (graph,) = models.glob("exports/*/*/step.onnx")
    before = graph.stat().st_mtime_ns
    assert prepare(models).stdout == "tiny:1 is ready\n"
    assert graph.stat().st_mtime_ns == before, "what is kept stays"
    command = [sys.executable, "-c", SERVE, str(models), str(tmp_path / "cache")]
    served = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert served.returncode == 0, served.stderr
    assert not (tmp_path / "cache" / "exports").exists()


async def test_a_stores_version_is_a_directory_too(tmp_path):
    """``file:`` may name it; what the store says of it is not among the files."""
    folder = tiny.write("llama", tmp_path / "tiny" / "1")
    publish(Corpus([]), folder, Kind.LANGUAGE_MODEL, "llama", {}, {})
    version = await ModelStore([], tmp_path / "cache", [tmp_path]).resolve(f"file:{folder}")
    assert version.manifest.kind == Kind.LANGUAGE_MODEL
    assert "model.json" not in {entry.path for entry in version.manifest.files}


def test_a_model_that_cannot_be_prepared_is_named(tmp_path):
    folder = tiny.write("llama", tmp_path / "tiny" / "1")
    (folder / "tokenizer.json").unlink()
    publish(Corpus([]), folder, Kind.LANGUAGE_MODEL, "llama", {}, {})
    done = prepare(tmp_path)
    assert done.returncode == 2
    assert "tiny:1" in done.stderr
    assert "tokenizer.json" in done.stderr
