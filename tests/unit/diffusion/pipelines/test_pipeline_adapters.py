"""Adapters in pipelines: as diffusers applies them, each row its own, in the formats that people share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

import diffusers  # noqa: E402
import peft  # noqa: E402

from services.common.errors import Code, ServiceError  # noqa: E402
from services.common.lora import Factors  # noqa: E402
from services.diffusion.adapters.adapter import Adapter  # noqa: E402
from services.diffusion.adapters.factors import read  # noqa: E402
from services.diffusion.engine import Prompts, Question  # noqa: E402
from services.diffusion.pipelines.kohya import converted  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402

LAYERS = ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "time_emb_proj", "proj_in", "conv1", "conv"]
"""Linear layers, convolutions of 1 x 1 and 3 x 3, some with a stride."""
READ = ["q_proj", "out_proj", "fc1"]
"""Layers of text encoders."""
FILE = "pytorch_lora_weights.safetensors"
PROMPTS = Prompts(tiny.PROMPT, tiny.NEGATIVE)


def trained(network, seed, rank=4, alpha=8, layers=LAYERS):
    """An adapter of the network with random factors: its tensors by PEFT's names, and its settings."""
    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=layers, init_lora_weights=False)
    # Not by Transformers' own ``add_adapter``, which wants a PEFT that is not out yet.
    peft.inject_adapter_in_model(config, network)
    tensors = {name: 0.5 * each.clone() for name, each in peft.get_peft_model_state_dict(network).items()}
    return {name.replace(".default", ""): each.contiguous() for name, each in tensors.items()}, config


def save(folder, tensors, config=None, prefix="unet"):
    """As ``save_lora_weights`` does: with the settings in the metadata, or without."""
    return save_parts(folder, {prefix: (tensors, config)})


def save_parts(folder, parts):
    """The same for several parts of a model: (tensors, settings or None) by their prefix."""
    folder.mkdir()
    noted = {
        f"{prefix}.{field}": value
        for prefix, (_, config) in parts.items()
        if config
        for field, value in (
            ("lora_alpha", config.lora_alpha),
            ("r", config.r),
            ("target_modules", sorted(config.target_modules)),
        )
    }
    metadata = {"format": "pt"} | ({"lora_adapter_metadata": json.dumps(noted)} if noted else {})
    tensors = {f"{prefix}.{name}": each for prefix, part in parts.items() for name, each in part[0].items()}
    save_file(tensors, folder / FILE, metadata)
    return folder


@pytest.fixture(scope="module")
def stable(tmp_path_factory):
    """(diffusers' own with DDIM, ours, two adapters' folders)."""
    theirs, folder = tiny.stable(), tmp_path_factory.mktemp("stable")
    tiny.saved(theirs, folder)
    theirs.scheduler = diffusers.DDIMScheduler.from_pretrained(
        folder, subfolder="scheduler", clip_sample=False
    )
    adapters = tmp_path_factory.mktemp("adapters")
    folders = [
        save(adapters / "first", *trained(tiny.unet(), 1)),
        save(adapters / "second", trained(tiny.unet(), 2, rank=3, layers=["to_v", "to_out.0"])[0]),
    ]
    return theirs, tiny.opened(folder), folders


def theirs_with(theirs, folder, seed, scale=1.0):
    if folder:
        theirs.load_lora_weights(folder, adapter_name="one")
        theirs.set_adapters(["one"], [scale])
    try:
        generator = torch.Generator("cpu").manual_seed(seed)
        common = {"guidance_scale": 5.0, "num_inference_steps": 6, "width": 16, "height": 16}
        made = theirs(
            PROMPTS.prompt,
            negative_prompt=PROMPTS.negative,
            generator=generator,
            output_type="latent",
            **common,
        )
        return made.images[0].numpy()
    finally:
        if folder:
            theirs.unload_lora_weights()


def read_parts(pipeline, seed):
    """Adapters of the text encoders of a pipeline, each with a scale of its own."""
    return {
        name: trained(getattr(pipeline, name), seed + number, alpha=2 + 4 * number, layers=READ)
        for number, name in enumerate(("text_encoder", "text_encoder_2"))
        if getattr(pipeline, name, None) is not None
    }


def begun(model, seed, *adapters):
    return tiny.begun(model, PROMPTS, seed, 6, "ddim", adapters=tuple(adapters))


def test_an_adapter_does_what_it_does_in_diffusers(stable):
    theirs, model, folders = stable
    plain = tiny.finished(model, begun(model, 3))[0]
    for number, folder in enumerate(folders):
        adapter = read(f"a{number}", f"key{number}", folder)
        model.adapters.check(adapter)
        place = model.adapters.take(adapter)
        for scale in (1.0, 0.5):
            expected = theirs_with(theirs, folder, 3, scale)
            (made,) = tiny.finished(model, begun(model, 3, (place, scale)))
            np.testing.assert_allclose(made, expected, atol=1e-5 * np.abs(expected).max())
            assert np.abs(made - plain).max() > 0.01 * np.abs(plain).max()
        model.adapters.leave(adapter)


def with_read_parts(pipeline, parts, scale=1.0):
    """The pipeline with PEFT's layers in its text encoders, by the name that ``theirs_with`` sets."""
    for name, (tensors, config) in parts.items():
        encoder = getattr(pipeline, name)
        peft.inject_adapter_in_model(config, encoder, "one")
        peft.set_peft_model_state_dict(encoder, tensors, "one")
        for layer in encoder.modules():
            if isinstance(layer, peft.tuners.lora.LoraLayer):
                layer.set_scale("one", scale)
    return pipeline


@pytest.mark.parametrize("has_network", [True, False], ids=["both", "text encoder alone"])
def test_text_encoders_are_changed_as_in_diffusers(stable, tmp_path, has_network):
    first, model, (network, *_) = stable
    texts = read_parts(tiny.stable(), 30)
    unet = trained(tiny.unet(), 1)
    folder = save_parts(tmp_path / "a", texts | ({"unet": unet} if has_network else {}))
    adapter = read("a", str(folder), folder)
    model.adapters.check(adapter)
    plain = tiny.finished(model, begun(model, 3))[0]
    place = model.adapters.take(adapter)
    for scale in (1.0, 0.5):
        theirs = with_read_parts(tiny.stable(first.scheduler), texts, scale)
        theirs.set_progress_bar_config(disable=True)
        expected = theirs_with(theirs, network if has_network else None, 3, scale)
        asked = tiny.begun(model, PROMPTS, 3, 6, "ddim", adapters=((place, scale),), read=((adapter, scale),))
        (made,) = tiny.finished(model, asked)
        np.testing.assert_allclose(made, expected, atol=1e-5 * np.abs(expected).max())
        assert np.abs(made - plain).max() > 0.01 * np.abs(plain).max()
    model.adapters.leave(adapter)
    np.testing.assert_array_equal(tiny.finished(model, begun(model, 3))[0], plain)


def test_two_adapters_of_a_text_encoder_add_up(stable):
    _, model, _ = stable
    tensors = [trained(tiny.clip_text(1), seed, layers=READ)[0] for seed in (40, 41)]
    adapters = []
    for number, each in enumerate(tensors):
        layers = {name.rpartition(".lora_")[0] for name in each}
        factors = {
            layer: Factors(*(each[f"{layer}.lora_{half}.weight"].numpy() for half in "AB"))
            for layer in layers
        }
        adapters.append(Adapter(f"a{number}", f"sum{number}", {}, {1: factors}))
    scaled = list(zip(adapters, (1.0, -0.5), strict=True))
    said = model.read(PROMPTS, 16, 16, 5.0, scaled).told.inputs["encoder_hidden_states"]
    encoder = tiny.clip_text(1)
    for adapter, scale in scaled:
        for layer, each in adapter.texts[1].items():
            encoder.get_parameter(f"{layer}.weight").data += scale * torch.from_numpy(each.up @ each.down)
    ids = tiny.clip_tokenizer()(PROMPTS.prompt, padding="max_length", return_tensors="pt").input_ids
    np.testing.assert_allclose(said, encoder(ids)[0][0].detach().numpy(), atol=1e-5)


def test_each_row_has_its_own(stable):
    _, model, folders = stable
    adapters = [read(f"a{number}", f"own{number}", folder) for number, folder in enumerate(folders)]
    first, second = (model.adapters.take(each) for each in adapters)
    chosen = [(), ((first, 1.0),), ((second, 0.7),), ((first, 0.4), (second, 1.2))]
    alone = [tiny.finished(model, begun(model, 3, *each))[0] for each in chosen]
    together = tiny.finished(model, *(begun(model, 3, *each) for each in chosen))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(one).max())
    assert all(np.abs(one - alone[0]).max() > 0.01 for one in alone[1:])
    for each in adapters:
        model.adapters.leave(each)


def test_a_row_without_any_is_what_the_network_alone_says(stable):
    _, model, folders = stable
    adapter = read("a", "beside", folders[0])
    sample = np.random.default_rng(0).standard_normal((4, 8, 8)).astype(np.float32)
    text = model.read(PROMPTS, 16, 16, 5.0).told
    bare = [Question(sample, 500.0, text)] * 2
    expected = model.denoiser.predict(bare)
    place = model.adapters.take(adapter)
    said = model.denoiser.predict([bare[0], Question(sample, 500.0, text, ((place, 1.0),))])
    np.testing.assert_array_equal(said[0], expected[0])
    assert np.abs(said[1] - said[0]).max() > 1e-3
    model.adapters.leave(adapter)


def test_the_least_recently_used_makes_room(stable, tmp_path):
    _, model, _ = stable
    made = [
        read(f"n{seed}", f"room{seed}", save(tmp_path / str(seed), *trained(tiny.unet(), seed, rank=7)))
        for seed in range(3)
    ]
    places = [model.adapters.take(each) for each in made[:2]]
    assert model.adapters.take(made[2]) is None  # 16 ranks, 14 in use
    model.adapters.leave(made[0])
    fresh = model.adapters.take(made[2])
    assert fresh not in places
    assert model.adapters.take(made[1]) == places[1]
    (again,) = tiny.finished(model, begun(model, 3, (fresh, 1.0)))
    assert np.isfinite(again).all()
    for each in (made[1], made[1], made[2]):
        model.adapters.leave(each)


def peft_folder(folder, tensors):
    """As PEFT and the recipe distill_diffusion save."""
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": each.half() for name, each in tensors.items()},
        folder / "adapter_model.safetensors",
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
    return folder


def kohya_file(path, tensors, alpha=8.0, texts=None):
    named = {}
    prefixed = [("lora_unet_", *each) for each in tensors.items()]
    prefixed += [("lora_te_text_model_", *each) for each in (texts or {}).items()]
    for prefix, name, each in prefixed:
        layer, _, half = name.rpartition(".lora_")
        kohya = prefix + layer.replace(".", "_")
        named[f"{kohya}.lora_{'down' if half.startswith('A') else 'up'}.weight"] = each
        named[f"{kohya}.alpha"] = torch.tensor(alpha)
    save_file(named, path)
    return path


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


def test_sdxls_two_text_encoders_are_changed(tmp_path):
    theirs, folder = tiny.xl(), tmp_path / "xl"
    model = tiny.opened(tiny.saved(theirs, folder))
    parts = read_parts(tiny.xl(), 50)
    adapter = read("a", "a", save_parts(tmp_path / "a", parts))
    assert sorted(adapter.texts) == [1, 2]
    model.adapters.check(adapter)
    with_read_parts(theirs, parts)
    told, untold, pooled, _ = theirs.encode_prompt(PROMPTS.prompt, negative_prompt=PROMPTS.negative)
    reading = model.read(PROMPTS, 16, 16, 5.0, [(adapter, 1.0)])
    plain = model.read(PROMPTS, 16, 16, 5.0).told.inputs
    for said, expected in ((reading.told, told), (reading.untold, untold)):
        np.testing.assert_allclose(said.inputs["encoder_hidden_states"], expected[0].detach(), atol=1e-5)
    np.testing.assert_allclose(reading.told.inputs["text_embeds"], pooled[0].detach(), atol=1e-5)
    assert np.abs(plain["text_embeds"] - pooled[0].detach().numpy()).max() > 1e-3


def test_flux_takes_adapters(tmp_path):
    theirs, folder = tiny.flux(), tmp_path / "flux"
    model = tiny.opened(tiny.saved(theirs, folder))
    tensors, config = trained(
        tiny.flux().transformer, 1, layers=["to_q", "to_out.0", "ff.net.2", "proj_mlp", "norm.linear"]
    )
    place = model.adapters.take(
        adapter := read("a", "a", save(tmp_path / "a", tensors, config, "transformer"))
    )
    model.adapters.check(adapter)
    theirs.load_lora_weights(tmp_path / "a")
    generator = torch.Generator("cpu").manual_seed(4)
    common = {"guidance_scale": 3.5, "num_inference_steps": 3, "width": 24, "height": 24}
    expected = theirs(tiny.PROMPT, generator=generator, output_type="latent", **common).images
    expected = theirs._unpack_latents(expected, 24, 24, theirs.vae_scale_factor)[0].numpy()
    asked = (Prompts(tiny.PROMPT), 4, 3, "flow_euler", 3.5, (24, 24))
    (made,) = tiny.finished(model, tiny.begun(model, *asked, adapters=((place, 1.0),)))
    np.testing.assert_allclose(made, expected, atol=1e-5)
    assert np.abs(made - tiny.painted(model, *asked)).max() > 0.01


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda name, each: (name.replace("down_blocks.1", "down_blocks.7"), each),
            "has no layer down_blocks.7",
        ),
        (
            lambda name, each: (name, torch.cat([each, each], 1) if "lora_A" in name else each),
            "the adapter's",
        ),
        (
            lambda name, each: (
                name.replace("attn1.to_q", "wide"),
                torch.cat([each] * 9, int("lora_B" in name)),
            ),
            "rank",
        ),
    ],
    ids=["layer", "shape", "rank"],
)
def test_an_adapter_for_another_model_names_both(stable, tmp_path, change, says):
    _, model, _ = stable
    tensors, _ = trained(tiny.unet(), 5, layers=["attn1.to_q"])
    changed = dict(change(*each) for each in tensors.items())
    adapter = read("someones:2", "x", save(tmp_path / "other", changed))
    with pytest.raises(ServiceError, match=f"adapter someones:2 is not for model tiny: .*{says}") as caught:
        model.adapters.check(adapter)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_what_is_not_served_is_named(tmp_path):
    save_file({"unet.some.weight": torch.ones(4, 8)}, tmp_path / FILE)
    with pytest.raises(ValueError, match=r"some\.weight is no factor of a layer"):
        read("a", "a", tmp_path, converted)


def test_a_text_encoder_that_the_model_has_not_is_named(stable, tmp_path):
    _, model, _ = stable
    parts = read_parts(tiny.xl(), 60)
    for name, change, says in (
        ("second", lambda each: each.replace("text_encoder.", "text_encoder_2."), "text encoder 2, which is"),
        ("layer", lambda each: each.replace("layers.0", "layers.9"), "has no layer text encoder 1's enc"),
    ):
        (tmp_path / name).mkdir()
        tensors = {f"text_encoder.{each}": value for each, value in parts["text_encoder"][0].items()}
        save_file({change(each): value for each, value in tensors.items()}, tmp_path / name / FILE)
        adapter = read("someones:2", "x", tmp_path / name)
        with pytest.raises(ServiceError, match=f"someones:2 is not for model tiny: .*{says}"):
            model.adapters.check(adapter)


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
