"""Recipe dreambooth on a tiny model: it learns, scores, goes on after kills, and leaves what others load."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from services.common.store import Kind
from services.diffusion.adapters.factors import read as read_adapter
from services.diffusion.adapters.stacks import layers_of
from services.diffusion.networks.graphs import network_of
from services.finetune.recipes import dreambooth
from services.finetune.recipes.base import open_base
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.choices.dreambooth import PRESETS, Options
from services.finetune.recipes.options import parameters_of
from services.finetune.recipes.personal.photos import Subject
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Alone, Stopped
from tests.unit.recipes.killing import killed
from tests.unit.recipes.tiny_unet import MODELS, drawn, tiny_unet

CLIP = str(MODELS / "peeps-clip/2")
OPTIONS = Options(
    steps=6,
    batch=2,
    prior_batch=2,
    prior_images=4,
    lora_rank=2,
    rate=0.02,
    warm_up=2,
    prompts="{}|{} with a hat",
    checkpoint_every=2,
    device="cpu",
)
RECIPE = "services.finetune.recipes.dreambooth"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tiny_unet(tmp_path_factory.mktemp("store") / "tiny/1")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("images") / "mine", 6)


def opened(folder):
    return open_base(folder, "", Kind.DIFFUSION)


def tuned(base, images, home, options=OPTIONS, pick=0):
    photos = dreambooth.read_folder(images, Alone().logged)
    out = home / "store/mine/1"
    return dreambooth.train(photos, opened(base), home / "work", out, options, pick), out


@pytest.fixture(scope="module")
def whole(base, images, tmp_path_factory):
    """A fine-tune that nothing disturbed, with an eye."""
    home = tmp_path_factory.mktemp("whole")
    manifest, out = tuned(base, images, home, replace(OPTIONS, clip=CLIP))
    return manifest, out, home


def weights(folder):
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def test_an_adapter_with_its_scores_is_published(whole):
    manifest, out, _ = whole
    assert (manifest.kind, manifest.family, manifest.parent) == (Kind.ADAPTER, "lora", "tiny:1")
    names = {
        "held_out_loss",
        "drift",
        "subject_similarity",
        "prompt_fidelity",
        "diversity",
        "nearest_training_distance",
    }
    assert names < manifest.metrics.keys()
    rows = manifest.config["candidates"]
    assert [each["step"] for each in rows] == [2, 4, 6]
    assert all(each["scores"].keys() == names for each in rows)
    assert manifest.config["chosen_step"] == next(each["step"] for each in rows if each["rank"] == 1)
    assert manifest.config["training"]["clip"] == "peeps-clip:2"
    assert manifest.config["pictures"]["count"] == 5
    assert {file.name for file in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "model.json",
    }


def test_previews_are_pictures_of_fixed_prompts(whole):
    _, _, home = whole
    for candidate in Candidates(home / "work").all():
        assert [(each.prompt, each.seed) for each in candidate.previews] == [
            ("sks person", 0),
            ("sks person with a hat", 1),
        ]
        assert all(each.image.startswith(b"\x89PNG") for each in candidate.previews)
    first, *_, last = Candidates(home / "work").all()
    assert first.previews[0].image != last.previews[0].image


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_trains_and_scores_by_its_own_prompts(preset, base, images, tmp_path):
    quick = {
        name: getattr(OPTIONS, name) for name in ("batch", "prior_batch", "prior_images", "rate", "device")
    }
    chosen = replace(PRESETS[preset], **quick, lora_rank=2, steps=2, checkpoint_every=2, clip=CLIP)
    manifest, out = tuned(base, images, tmp_path, chosen)
    assert any(torch.any(each != 0) for name, each in weights(out).items() if "lora_B" in name)
    assert {"subject_similarity", "prompt_fidelity", "drift"} < manifest.metrics.keys()
    (candidate,) = Candidates(tmp_path / "work").all()
    prompts = [each.prompt for each in candidate.previews]
    wanted = [each.replace("{}", chosen.instance_prompt) for each in chosen.prompts.split("|")]
    assert prompts
    assert set(prompts) <= set(wanted)


def test_the_adapter_fits_what_our_service_serves(whole, base):
    _, out, _ = whole
    adapter = read_adapter("mine:1", "key", out)
    sizes, _ = layers_of(base / "unet.safetensors")
    assert adapter.rank == 2
    for layer, factors in adapter.factors.items():
        assert (factors.down.shape[1], len(factors.up)) == sizes[layer]
    assert any(".places." in layer for layer in adapter.factors)
    assert any(".words." in layer for layer in adapter.factors)


def test_peft_reads_the_adapter_to_the_same_words(whole, base):
    from peft import LoraConfig, get_peft_model, load_peft_weights, set_peft_model_state_dict

    _, out, _ = whole
    told = json.loads((base / "model.json").read_text())["config"]
    plain, merged, adapted = (network_of(told, base) for _ in range(3))
    for layer, factors in read_adapter("mine:1", "key", out).factors.items():
        merged.get_submodule(layer).weight.data += torch.from_numpy(factors.up @ factors.down)
    config = LoraConfig.from_pretrained(str(out))
    config.base_model_name_or_path = None  # PEFT would warn that the network has no name
    adapted = get_peft_model(adapted, config).eval()
    read = set_peft_model_state_dict(adapted, load_peft_weights(str(out)))
    assert not read.unexpected_keys
    assert not [name for name in read.missing_keys if "lora" in name]
    torch.manual_seed(0)
    inputs = (
        torch.randn(2, 3, 16, 16),
        torch.tensor([3.0, 700.0]),
        torch.randn(2, 5, 160),
        torch.ones(2, 5).bool(),
    )
    with torch.no_grad():
        torch.testing.assert_close(adapted(*inputs), merged(*inputs), atol=1e-4, rtol=1e-4)
        assert (merged(*inputs) - plain(*inputs)).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("place", "count"),
    [
        pytest.param("services.finetune.recipes.personal.prior:np.save", 1, marks=pytest.mark.slow),
        pytest.param(
            "services.finetune.recipes.candidates.folder:Candidates.note", 2, marks=pytest.mark.slow
        ),
        pytest.param("services.finetune.recipes.saving:os.fsync", 2, marks=pytest.mark.slow),
        ("services.finetune.recipes.personal.training:descend", 4),
    ],
)
def test_what_was_killed_goes_on_to_the_same_weights(place, count, whole, base, images, tmp_path):
    _, expected, home = whole
    arguments = ["--images", str(images), "--base", str(base), "--work", str(tmp_path / "work")]
    arguments += ["--out", str(tmp_path / "store/mine/1"), "--clip", CLIP, "--device", "cpu", "--steps", "6"]
    arguments += ["--batch", "2", "--prior-batch", "2", "--prior-images", "4", "--lora-rank", "2"]
    arguments += [
        "--rate",
        "0.02",
        "--warm-up",
        "2",
        "--prompts",
        "{}|{} with a hat",
        "--checkpoint-every",
        "2",
    ]
    killed(RECIPE, arguments, place, count)
    assert not (tmp_path / "store/mine/1/model.json").exists()
    manifest, out = tuned(base, images, tmp_path, replace(OPTIONS, clip=CLIP))
    for step in (2, 4, 6):
        one, other = (each / f"work/candidates/{step:06d}" for each in (home, tmp_path))
        assert same(weights(one), weights(other))
    assert same(weights(expected), weights(out))
    assert manifest.config["candidates"] == whole[0].config["candidates"]


def test_the_whole_network_can_be_tuned_with_an_average(base, images, tmp_path):
    options = replace(OPTIONS, lora_rank=0, average=0.5, rate=1e-4)
    manifest, out = tuned(base, images, tmp_path, options)
    assert (manifest.kind, manifest.family) == (Kind.DIFFUSION, "unet")
    assert manifest.metrics.keys() == {"held_out_loss", "drift", "training_seconds", "step"}
    before, after = load_file(base / "unet.safetensors"), load_file(out / "unet.safetensors")
    assert not same(before, after)
    network_of(manifest.config, out)
    assert (out / "text/model.safetensors").read_bytes() == (base / "text/model.safetensors").read_bytes()


def test_few_pictures_are_measured_on_themselves_and_one_is_enough(base, tmp_path):
    images = drawn(tmp_path / "one", 1)
    options = replace(OPTIONS, steps=2, batch=4, clip=CLIP, prior_weight=0.0, flip=0.5)
    manifest, _ = tuned(base, images, tmp_path, options)
    assert manifest.config["pictures"]["count"] == 1
    assert manifest.metrics["held_out_loss"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--images", "EMPTY"], "holds no picture to learn from: no PNG, JPEG or WebP is in it"),
        (["--images", "TEXTS"], "holds no picture to learn from: none of 1 can be used"),
        (
            ["--images", "IMAGES", "--base", "EMPTY"],
            "holds no model to start from",
        ),
        (
            ["--images", "IMAGES", "--base", CLIP],
            "is a text_image_embedder; a diffusion is needed to start from",
        ),
        (["--images", "IMAGES", "--instance-prompt", "sks"], "is one word: say class_prompt too"),
        (["--images", "IMAGES", "--prompts", "a cat"], "'a cat' has no {}, where the instance prompt goes"),
        (["--images", "IMAGES", "--steps", "0"], "steps, checkpoint_every and keep_checkpoints begin at 1"),
        (["--images", "IMAGES", "--clip", "EMPTY"], "EMPTY"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, base, images, tmp_path, capsys):
    empty, texts = tmp_path / "EMPTY", tmp_path / "texts"
    empty.mkdir()
    texts.mkdir()
    (texts / "a.png").write_text("only words")
    named = {"EMPTY": str(empty), "TEXTS": str(texts), "IMAGES": str(images)}
    given = ["--base", str(base), "--work", str(tmp_path / "w"), "--out", str(tmp_path / "s/m/1")]
    given += ["--prior-images", "4", "--device", "cpu", *(named.get(each, each) for each in arguments)]
    with pytest.raises(SystemExit) as ended:
        dreambooth.main(given)
    assert ended.value.code != 0
    assert said in f"{ended.value}{capsys.readouterr().err}"


def test_a_work_folder_of_other_pictures_is_refused(whole, base, tmp_path):
    other = drawn(tmp_path / "other", 5, first=1)
    _, _, home = whole
    photos = dreambooth.read_folder(other, Alone().logged)
    with pytest.raises(ValueError, match="was made with other options"):
        dreambooth.Personal(Subject.of(photos), opened(base), home / "work", OPTIONS, Alone()).course.resume()


class Impatient(Alone):
    """Wants a stop from the beginning, or after some steps."""

    def __init__(self, asked):
        self.asked, self.offers = asked, []

    def wants_stop(self):
        self.asked -= 1
        return self.asked < 0

    def offered(self, candidate):
        self.offers.append(candidate)
        return True


def test_a_job_leaves_candidates_and_stops_when_asked(base, images, tmp_path):
    given = {name: getattr(OPTIONS, name) for name in parameters_of(Options)}
    task = Task(tmp_path / "work", images, base=base, base_version="tiny:1", parameters=given)
    task = replace(task, steps=6, checkpoint_every=2, device="cpu")
    with pytest.raises(Stopped, match="pictures of the class"):
        dreambooth.run(task, Impatient(0))
    with pytest.raises(Stopped, match="stopped after step 3 of 6"):
        dreambooth.run(task, Impatient(3))
    watcher = Impatient(1000)
    dreambooth.run(task, watcher)
    assert [each.step for each in watcher.offers] == [2, 4, 6]
    assert all(each.folder == task.candidate(each.step) for each in watcher.offers)
