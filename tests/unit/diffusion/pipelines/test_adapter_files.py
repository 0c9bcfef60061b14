"""Files of adapters: every way to write one is read the same; what cannot be read is named."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

from services.diffusion.adapters.factors import read  # noqa: E402
from services.diffusion.pipelines.kohya import converted  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402
from tests.unit.diffusion.pipelines.lora_files import (  # noqa: E402
    FILE,
    kohya_file,
    peft_folder,
    save,
    save_parts,
    trained,
)


def test_every_way_to_write_an_adapter_is_read_the_same(tmp_path):
    tensors, config = trained(tiny.unet(), 5)
    expected = read("a", "a", save(tmp_path / "diffusers", tensors, config)).factors
    assert {"down_blocks.0.resnets.0.conv1", "down_blocks.1.attentions.0.proj_in"} <= set(expected)
    others = [
        read("b", "b", peft_folder(tmp_path / "peft", tensors)),
        read("c", "c", kohya_file(tmp_path / "kohya.safetensors", tensors), converted),
    ]
    older = {
        name.replace("lora_A", "lora.down").replace("lora_B", "lora.up"): each
        for name, each in tensors.items()
    }
    layers = {name.split(".lora")[0] for name in older}
    older |= {f"{layer}.alpha": torch.tensor(8.0) for layer in layers}
    others.append(read("d", "d", save(tmp_path / "older", older)))
    half = {name: each.bfloat16() for name, each in tensors.items()}
    others.append(read("e", "e", save(tmp_path / "half", half, config)))
    for other in others:
        assert other.factors.keys() == expected.keys()
        for layer, factors in expected.items():
            np.testing.assert_allclose(other.factors[layer].down, factors.down, atol=2e-3)
            np.testing.assert_allclose(other.factors[layer].up, factors.up, atol=4e-3)


def test_kohyas_layers_of_text_encoders_are_read_the_same(tmp_path):
    unet, text = trained(tiny.unet(), 5), trained(tiny.clip_text(1), 6, layers=["q_proj", "fc1", "out_proj"])
    folder = save_parts(tmp_path / "a", {"unet": unet, "text_encoder": text})
    expected = read("a", "a", folder).texts[1]
    theirs = read("b", "b", kohya_file(tmp_path / "k.safetensors", unet[0], texts=text[0]), converted).texts[
        1
    ]
    assert theirs.keys() == expected.keys()
    for layer, factors in expected.items():
        np.testing.assert_allclose(theirs[layer].down, factors.down, atol=1e-6)
        np.testing.assert_allclose(theirs[layer].up, factors.up, atol=1e-6)


def test_what_is_not_served_is_named(tmp_path):
    save_file({"unet.some.weight": torch.ones(4, 8)}, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"some\.weight is no factor of a layer"):
        read("a", "a", tmp_path, converted)


def test_damage_is_told(tmp_path):
    with pytest.raises(ValueError, match="the directory has no"):
        read("a", "a", tmp_path)
    tensors, config = trained(tiny.unet(), 5)
    folder = save(tmp_path / "a", tensors, config)
    whole = (folder / FILE).read_bytes()
    (folder / FILE).write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="damaged or cut short"):
        read("a", "a", folder)
    (folder / FILE).write_bytes(whole)
    kept = dict(list(load_file(folder / FILE).items())[1:])
    save_file(kept, folder / FILE)
    with pytest.raises(ValueError, match="only one of the two factors"):
        read("a", "a", folder)
    with pytest.raises(ValueError, match="kohya's names"):
        read("a", "a", kohya_file(tmp_path / "k.safetensors", tensors))


KOHYA = {
    "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": (
        ["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"],
        (8, 8),
    ),
    "lora_unet_double_blocks_0_img_attn_qkv": (
        [f"transformer_blocks.0.attn.to_{each}" for each in "qkv"],
        (9216, 3072),
    ),
    "lora_unet_single_blocks_3_linear2": (["single_transformer_blocks.3.proj_out"], (3072, 15360)),
}


@pytest.mark.parametrize("name", KOHYA)
def test_kohyas_names_of_sdxl_and_flux_are_understood(tmp_path, name):
    layers, (outputs, inputs) = KOHYA[name]
    torch.manual_seed(0)
    down, up = torch.randn(4, inputs), torch.randn(outputs, 4)
    file = tmp_path / "kohya.safetensors"
    alpha = torch.tensor(2.0)
    save_file({f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": alpha}, file)
    factors = read("a", "a", file, converted).factors
    assert sorted(factors) == sorted(layers)
    whole = np.concatenate([factors[layer].up @ factors[layer].down for layer in layers])
    np.testing.assert_allclose(whole, (0.5 * up @ down).numpy(), atol=1e-3)
