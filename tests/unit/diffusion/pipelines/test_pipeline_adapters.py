"""Adapters in pipelines: as diffusers applies them, each row its own, in the formats that people share."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

import diffusers  # noqa: E402
import peft  # noqa: E402

from services.common.errors import Code, ServiceError  # noqa: E402
from services.common.lora import Factors  # noqa: E402
from services.diffusion.adapters.adapter import Adapter  # noqa: E402
from services.diffusion.adapters.factors import read  # noqa: E402
from services.diffusion.engine import Prompts, Question  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402
from tests.unit.diffusion.pipelines.lora_files import FILE, READ, save, save_parts, trained  # noqa: E402

PROMPTS = Prompts(tiny.PROMPT, tiny.NEGATIVE)


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
