"""Loading: what a manifest promises and a file does not keep is a clear error; settings of the start."""

import json

import pytest

from services.common.catalogue import entry
from services.common.errors import Reason, ServiceError
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.rpc.server import server_settings
from services.common.settings import SettingsError, from_environment
from services.common.store import MANIFEST_NAME, Manifest, describe_files, open_store
from services.common.store.settings import StoreSettings
from services.finetune.recipes import infinigram as infinigram_recipe
from services.finetune.recipes import ngram as ngram_recipe
from services.finetune.recipes.version import Corpus
from services.sampler.loader import EngineLoader
from services.sampler.settings import SamplerSettings
from tests.unit.sampler.ngram_models import OPENING, run, sequence


@pytest.fixture
def shipped(tmp_path):
    ngram_recipe.train(Corpus([OPENING]), tmp_path / "models" / "counted" / "1", order=3, alphabet="text")
    infinigram_recipe.train(Corpus([OPENING]), tmp_path / "models" / "searched" / "1", alphabet="text")
    return tmp_path / "models"


@pytest.fixture
async def manager(shipped, tmp_path):
    store = open_store(shipped, str(tmp_path / "user"), tmp_path / "cache")
    made = ModelManager(store, EngineLoader(store), Metrics("sampler"), budget_bytes=2**30, load_wait=30)
    yield made
    await made.close()


def edit(folder, **changes):
    """Rewrite a version's manifest, its files' hashes included."""
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_text())
    changed = manifest.model_copy(update={**changes, "files": describe_files(folder)})
    (folder / MANIFEST_NAME).write_text(changed.to_json())


async def failure(manager, reference):
    with pytest.raises(ServiceError) as caught:
        async with manager.use(reference):
            pass
    return caught.value


@pytest.mark.parametrize("name", ["counted", "searched"])
async def test_a_family_becomes_an_engine(manager, name):
    async with manager.use(name) as resident:
        assert resident.model.name == name
        assert resident.memory_bytes > 0
        model = resident.model._model
        assert len(run(resident.model, sequence(model, "the ", max_tokens=10))[0].text) == 10


async def test_the_suffix_array_is_derived_beside_the_version(manager, shipped, tmp_path):
    async with manager.use("searched"):
        pass
    assert [path.name for path in (shipped / "searched" / "1").iterdir() if "suffix" in path.name] == []
    assert len(list((tmp_path / "cache" / "exports").rglob("suffix_array.safetensors"))) == 1


async def test_a_tampered_file_is_named(manager, shipped):
    file = shipped / "counted" / "1" / "counts.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    error = await failure(manager, "counted")
    assert error.reason is Reason.FILE_TAMPERED
    assert "counts.safetensors" in str(error)


async def test_an_unknown_family_is_refused_with_the_known_ones(manager, shipped):
    edit(shipped / "counted" / "1", family="markov")
    assert "gpt2, infinigram, llama, ngram" in str(await failure(manager, "counted"))


@pytest.mark.parametrize(
    ("name", "config", "part"),
    [
        ("counted", {}, "order"),
        ("counted", {"order": 9, "alphabet": {"kind": "shannon"}}, "order4.symbols"),
        ("counted", {"order": 3, "alphabet": {"kind": "runes"}}, "runes"),
        ("searched", {"alphabet": {"kind": "text", "characters": "aa"}}, "once"),
        ("searched", {"alphabet": {"kind": "shannon"}, "stored_suffix_array": True}, "suffix_array"),
    ],
)
async def test_a_config_that_does_not_fit_its_files(manager, shipped, name, config, part):
    edit(shipped / name / "1", config=config)
    error = await failure(manager, name)
    assert error.reason is Reason.LOAD_FAILED
    assert part in str(error)


async def test_a_file_cut_short(manager, shipped):
    file = shipped / "searched" / "1" / "symbols.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    edit(shipped / "searched" / "1")
    error = await failure(manager, "searched")
    assert error.reason is Reason.LOAD_FAILED
    assert "symbols.safetensors" in str(error)


def test_the_catalogue_gives_the_ports_and_the_environment_changes_them():
    sampler = entry("sampler")
    assert (server_settings(sampler, {}).port, server_settings(sampler, {}).side_port) == (50062, 9062)
    assert server_settings(sampler, {"PEQUOD_SAMPLER_PORT": "0"}).port == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PEQUOD_SAMPLER_MAX_RUNNING", "0"),
        ("PEQUOD_SAMPLER_MAX_WAITING", "31"),
        ("PEQUOD_SAMPLER_MAX_TOKENS", "many"),
    ],
)
def test_a_bad_setting_stops_the_start(variable, value):
    with pytest.raises(SettingsError, match=variable):
        from_environment(SamplerSettings, {variable: value})


def test_the_shipped_models_are_what_their_recipes_write():
    """The manifests in the repository name these recipes, and say on what they were trained."""
    for name, recipe in (("moby-ngram", "ngram"), ("moby-unbounded", "infinigram")):
        folder = StoreSettings().shipped / name
        manifest = Manifest.model_validate_json((folder / "1" / MANIFEST_NAME).read_text())
        assert manifest.recipe == manifest.family == recipe
        assert manifest.license == "CC0-1.0"
        assert "Moby-Dick" in manifest.training_data
        assert manifest.files == describe_files(folder / "1")
        assert manifest.size_bytes < 3 * 2**20
        assert json.loads((folder / "@production").read_text()) == {"version": "1"}
