"""Directories in diffusers' format and files of low-rank adapters as versions."""

import json

import numpy as np
import pytest
from safetensors.numpy import save

from services.common.errors import Code, Reason
from services.common.store import Kind
from services.common.store.pipeline import needed, weights_of
from tests.unit.common.store_parts import disk_store, refused

WEIGHTS = save({"w": np.ones(2, np.float32)})
PICKLE = b"\x80\x04."
INDEX = {"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}
STABLE = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
]
BESIDE = [
    "README.md",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "unet/diffusion_pytorch_model.bin",
    "text_encoder/model.fp16.safetensors",
    "safety_checker/model.safetensors",
    "vae_decoder/model.onnx",
    "v1-5-pruned-emaonly.safetensors",
]
SHARDS = [f"transformer/diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]


def write(folder, names):
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        is_pickle = file.suffix in {".bin", ".pt"}
        file.write_bytes(
            WEIGHTS if file.suffix == ".safetensors" else PICKLE if is_pickle else json.dumps(INDEX).encode()
        )
    return folder


def store_of(tmp_path):
    return disk_store(tmp_path, file_roots=[tmp_path])


async def test_a_pipeline_is_a_version_of_the_files_it_is_opened_from(tmp_path):
    write(tmp_path / "mine", STABLE + BESIDE)
    store = store_of(tmp_path)
    version = await store.resolve(f"file:{tmp_path}/mine")
    manifest = version.manifest
    assert (manifest.kind, manifest.family) == (Kind.DIFFUSION, "diffusers")
    assert [entry.path for entry in manifest.files] == STABLE
    assert manifest.config["_class_name"] == "StableDiffusionPipeline"
    assert (await store.fetch(version)).is_dir()


def test_half_precision_is_taken_where_there_is_nothing_else():
    names = [f"unet/diffusion_pytorch_model{each}" for each in (".fp16.safetensors", ".bin", ".fp16.bin")]
    found = weights_of("unet", names)
    assert (found.variant, found.files) == ("fp16", ("unet/diffusion_pytorch_model.fp16.safetensors",))


def test_weights_in_several_files_come_with_their_index():
    index = "transformer/diffusion_pytorch_model.safetensors.index.json"
    other = "transformer/diffusion_pytorch_model.safetensors.index.fp16.json"
    assert needed([*SHARDS, index, other]) == sorted(["model_index.json", *SHARDS, index])


async def test_a_component_of_pickles_alone_is_refused_by_name(tmp_path):
    names = [each for each in STABLE if not each.startswith("unet/diff")]
    write(tmp_path / "mine", [*names, "unet/diffusion_pytorch_model.bin"])
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, "'unet'", "pickle", "safetensors"):
        await store_of(tmp_path).resolve(f"file:{tmp_path}/mine")


async def test_a_file_of_diffusers_adapter_is_an_adapter(tmp_path):
    write(tmp_path / "mine", ["pytorch_lora_weights.safetensors", "README.md"])
    manifest = (await store_of(tmp_path).resolve(f"file:{tmp_path}/mine")).manifest
    assert (manifest.kind, manifest.family, manifest.config) == (Kind.ADAPTER, "lora", {})
    assert "pytorch_lora_weights.safetensors" in [entry.path for entry in manifest.files]


async def test_a_directory_of_pefts_is_an_adapter(tmp_path):
    folder = write(tmp_path / "mine", ["adapter_model.safetensors"])
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    manifest = (await store_of(tmp_path).resolve(f"file:{tmp_path}/mine")).manifest
    assert (manifest.kind, manifest.family) == (Kind.ADAPTER, "lora")


@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "adapter_model.bin"])
async def test_an_adapter_of_pickles_is_refused(tmp_path, name):
    write(tmp_path / "mine", [name])
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, "pickles"):
        await store_of(tmp_path).resolve(f"file:{tmp_path}/mine")
