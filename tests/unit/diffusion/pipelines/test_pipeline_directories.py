"""Directories that are no pipeline, or none that is served, say why; what is known of those that are."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

from services.common.errors import Code, Reason  # noqa: E402
from services.diffusion.pipelines import opening  # noqa: E402
from services.diffusion.pipelines.directory import (  # noqa: E402
    Architecture,
    memory_bytes,
    precision_for,
    read_directory,
)
from services.diffusion.pipelines.parts.placing import Place, place_for  # noqa: E402
from services.diffusion.pipelines.placement import Placement  # noqa: E402
from tests.unit.common.store_parts import refused  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    return tiny.saved(tiny.stable(), tmp_path_factory.mktemp("stable"))


@pytest.fixture
def folder(shared, tmp_path):
    return shutil.copytree(shared, tmp_path / "pipeline")


def rewrite(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_another_class_is_refused_with_those_that_are_served(folder):
    rewrite(folder / "model_index.json", _class_name="KandinskyPipeline")
    served = "StableDiffusionPipeline, StableDiffusionXLPipeline, FluxPipeline"
    with refused(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, "'KandinskyPipeline'", served):
        tiny.opened(folder)


@pytest.mark.parametrize("component", ["unet", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_component_is_named(folder, component):
    shutil.rmtree(folder / component)
    with pytest.raises(
        ValueError, match=f"StableDiffusionPipeline has a folder '{component}', which is missing"
    ):
        tiny.opened(folder)


def test_weights_that_are_missing_are_named(folder):
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ValueError, match="component 'vae' has no weights"):
        tiny.opened(folder)


def test_pickles_are_refused_with_the_reason(folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.bin"
    )
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, "'unet'", "can run code", "safetensors"):
        tiny.opened(folder)


def test_a_network_for_inpainting_is_refused(tmp_path):
    folder = tiny.saved(tiny.stable(in_channels=9), tmp_path)
    with refused(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, "takes 9 channels, its VAE makes 4"):
        tiny.opened(folder)


def test_a_network_with_inputs_that_are_not_known_is_refused(tmp_path):
    folder = tiny.saved(tiny.stable(time_cond_proj_dim=8), tmp_path)
    with refused(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, "unet's time_cond_proj_dim 8"):
        tiny.opened(folder)


def test_a_scheduler_of_another_kind_is_refused(folder):
    rewrite(folder / "scheduler" / "scheduler_config.json", _class_name="FlowMatchEulerDiscreteScheduler")
    with pytest.raises(ValueError, match="FlowMatchEulerDiscreteScheduler is not that of a StableDiffusion"):
        tiny.opened(folder)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_an_index_that_is_no_object_is_named(folder, text):
    (folder / "model_index.json").write_text(text)
    with pytest.raises(ValueError, match=r"pipeline/model_index.json is no JSON object"):
        tiny.opened(folder)


def test_half_precision_files_are_opened_where_there_are_no_others(shared, tmp_path):
    theirs = tiny.stable().to(torch.float16)
    folder = tiny.saved(theirs, tmp_path, variant="fp16")
    directory = read_directory(folder)
    assert set(directory.variants.values()) == {"fp16"}
    model = tiny.opened(folder)
    painted = tiny.painted(model, tiny.Prompts(tiny.PROMPT), 1, 2, "ddim")
    whole = tiny.painted(tiny.opened(shared), tiny.Prompts(tiny.PROMPT), 1, 2, "ddim")
    np.testing.assert_allclose(painted, whole, atol=0.05 * abs(whole).max())


def test_bfloat16_on_a_cpu_paints_nearly_the_same(shared):
    painted = tiny.painted(tiny.opened(shared, precision="bf16"), tiny.Prompts(tiny.PROMPT), 1, 2, "ddim")
    whole = tiny.painted(tiny.opened(shared), tiny.Prompts(tiny.PROMPT), 1, 2, "ddim")
    np.testing.assert_allclose(painted, whole, atol=0.1 * abs(whole).max())


def test_memory_is_that_of_the_weights_in_the_precision(shared):
    theirs = tiny.stable()
    numbers = sum(
        sum(each.numel() for each in part.state_dict().values())
        for part in (theirs.unet, theirs.vae, theirs.text_encoder)
    )
    assert memory_bytes(shared, "fp32") == pytest.approx(4 * 1.15 * numbers, rel=0.02)
    assert memory_bytes(shared, "auto") == memory_bytes(shared, "fp32")
    assert memory_bytes(shared, "auto", on_gpu=True) == memory_bytes(shared, "fp16")
    assert memory_bytes(shared, "fp16") == pytest.approx(2 * 1.15 * numbers, rel=0.02)


def test_what_a_pipeline_does_unless_told(shared, tmp_path):
    traits = tiny.opened(shared).traits
    assert (traits.width, traits.height, traits.multiple, traits.factor) == (16, 16, 2, 2)
    assert (traits.scheduler, traits.steps, traits.guidance) == ("dpmpp_2m", 50, 7.5)  # PNDM is not served
    assert "flow_euler" not in traits.schedulers
    xl = tiny.opened(tiny.saved(tiny.xl(), tmp_path / "xl")).traits
    assert (xl.scheduler, xl.guidance, xl.second_prompt) == ("euler", 5.0, True)
    schnell = tiny.opened(tiny.saved(tiny.flux(False), tmp_path / "flux")).traits
    assert (schnell.scheduler, schnell.steps, schnell.multiple) == ("flow_euler", 4, 4)
    assert schnell.tokens(32, 16) == 8 * 4


def test_precision_suits_device_and_architecture():
    assert precision_for("auto", Architecture.FLUX, False) == "fp32"
    assert precision_for("auto", Architecture.FLUX, True) == "bf16"
    assert precision_for("auto", Architecture.SDXL, True) == "fp16"
    assert precision_for("bf16", Architecture.SDXL, False) == "bf16"


@pytest.mark.parametrize("field", ["device", "precision", "offload"])
def test_a_setting_that_is_not_known_is_refused(field):
    with pytest.raises(ValueError, match=f"{field} 'much' is none of"):
        Placement(**{field: "much"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said_to_be_missing():
    with refused(Code.FAILED_PRECONDITION, Reason.UNSUPPORTED, "cuda"):
        place_for(Placement(device="cuda"), Architecture.SDXL)


@pytest.mark.parametrize("streams", [False, True])
def test_parts_that_wait_elsewhere_change_nothing(shared, monkeypatch, streams):
    plain = tiny.opened(shared)
    waiting = Place(torch.device("cpu"), torch.float32, rests=True, streams=streams)
    monkeypatch.setattr(opening, "place_for", lambda *_: waiting)
    model = tiny.opened(shared)
    asked = (tiny.Prompts(tiny.PROMPT, tiny.NEGATIVE), 1, 3, "ddim")
    latents = tiny.painted(model, *asked)
    np.testing.assert_array_equal(latents, tiny.painted(plain, *asked))
    np.testing.assert_array_equal(model.decode(latents), plain.decode(latents))


def test_texts_are_read_in_several_threads_at_once(shared):
    model = tiny.opened(shared)
    texts = [f"{'red hat ' * number}glasses" for number in range(60)]

    def read(text):
        reading = model.read(tiny.Prompts(text), 16, 16, 1.0)
        return reading.told.inputs["encoder_hidden_states"], reading.cut

    alone = [read(text) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(read, texts))
    for (one, cut), (other, other_cut) in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
        assert cut == other_cut


def test_what_a_service_needs_before_it_opens_one_needs_no_torch():
    modules = ["pipelines.directory", "pipelines.placement", "adapters.factors", "adapters.places"]
    names = ", ".join(f"services.diffusion.{each}" for each in modules)
    code = f"import sys, {names}; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
