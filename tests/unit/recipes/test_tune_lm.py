"""Recipes lora_lm and full_lm on tiny models: what is learnt, kills, and that others load what they leave."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer

from services.common.store import Kind
from services.common.store.derived import derive
from services.finetune.recipes import full_lm, lora_lm
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.choices.tune_lm import FullOptions, LoraOptions
from services.finetune.recipes.language_tuning.recipe import train
from services.finetune.recipes.task import Task
from services.finetune.recipes.version import manifest_of
from services.finetune.recipes.watching import Alone, Stopped
from services.sampler.transformer import loading
from services.sampler.transformer.lora.adapter import read as read_adapter
from services.sampler.transformer.onnx.opening import Placement
from tests.unit.recipes.killing import killed
from tests.unit.sampler import language_models as tiny
from tests.unit.sampler.engine_runs import greedy, run

LORA = LoraOptions(
    steps=6,
    batch=4,
    at_once=2,
    window=48,
    rate=0.02,
    warm_up=1,
    lora_rank=4,
    lora_alpha=8,
    checkpoint_every=2,
    preview_tokens=6,
    device="cpu",
)
FULL = FullOptions(
    steps=4, batch=4, at_once=4, window=48, rate=1e-3, checkpoint_every=2, preview_tokens=6, device="cpu"
)


def tuned_with(options, base, data, home):
    return train(data, base, home / "work", home / "store/mine/1", options)


def tokenizer_of(folder):
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def tuned(language_model, chats, tmp_path_factory):
    home = tmp_path_factory.mktemp("tuned")
    manifest = train(chats, language_model, home / "work", home / "store/mine/1", LORA)
    return manifest, home / "store/mine/1", home / "work"


def test_an_adapter_with_its_scores_is_published(tuned):
    manifest, out, work = tuned
    assert (manifest.kind, manifest.family, manifest.recipe) == (Kind.ADAPTER, "lora", "lora_lm")
    assert manifest.parent.startswith("tiny:")
    assert manifest.metrics["perplexity"] < manifest.metrics["perplexity_before"]
    assert manifest.metrics["perplexity"] == pytest.approx(math.exp(manifest.metrics["held_out_loss"]))
    assert [each["step"] for each in manifest.config["candidates"]] == [2, 4, 6]
    assert {each.name for each in out.iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "model.json",
    }
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == manifest.parent
    (preview,) = Candidates(work).find(2).previews
    assert preview.prompt.startswith("<user>What is")
    assert preview.text


class Named:
    """All that loading asks of a version."""

    name = "tiny"


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_our_sampler_says_with_the_adapter_what_peft_says(tuned, language_model, tmp_path):
    import peft

    _, out, _ = tuned
    adapted = peft.PeftModel.from_pretrained(tiny.reference(language_model), out).eval()
    placement = Placement("fp32", threads=1, slots=2, context=tiny.WINDOW, adapters=2)
    build = partial(derive, tmp_path / "kept", "llama")
    engine = loading.load(Named, language_model, build, placement, loading.Budget())
    plan = replace(greedy(20, 16), adapter=read_adapter("mine", "mine", out))
    (ours, plain) = run(engine, [plan, greedy(20, 16)])
    assert ours.ids == tiny.greedy(adapted, plan.prompt.tolist(), 16)
    assert ours.ids != plain.ids


def test_the_whole_model_is_published_as_transformers_reads_it(language_model, chats, tmp_path):
    manifest = train(chats, language_model, tmp_path / "work", tmp_path / "store/mine/1", FULL)
    assert (manifest.kind, manifest.family, manifest.recipe) == (Kind.LANGUAGE_MODEL, "llama", "full_lm")
    assert manifest.metrics["perplexity"] < manifest.metrics["perplexity_before"]
    out = tmp_path / "store/mine/1"
    model, before = tiny.reference(out), tiny.reference(language_model)
    assert not torch.equal(model.lm_head.weight, before.lm_head.weight)
    assert (out / "tokenizer.json").read_bytes() == (language_model / "tokenizer.json").read_bytes()
    assert tokenizer_of(out).chat_template == tiny.TEMPLATE


def test_a_model_that_learnt_a_plain_template_says_so(chats, tmp_path):
    bare = tiny.write("llama", tmp_path / "bare")
    options = replace(FULL, steps=1, preview_tokens=1)
    manifest = train(chats, bare, tmp_path / "work", tmp_path / "store/mine/1", options)
    template = (tmp_path / "store/mine/1/chat_template.jinja").read_text()
    assert manifest.config["chat_template"] == template
    assert tokenizer_of(tmp_path / "store/mine/1").chat_template == template


ARGUMENTS = ["--batch", "4", "--window", "48", "--checkpoint-every", "2", "--preview-tokens", "6"]
KILLS = {
    "lora": (lora_lm, LORA, ["--at-once", "2", "--lora-rank", "4", "--lora-alpha", "8", "--warm-up", "1"]),
    "full": (full_lm, FULL, ["--at-once", "4"]),
}


@pytest.mark.parametrize(
    ("which", "place", "count"),
    [
        ("lora", "services.finetune.recipes.language_tuning.training:descend_by", 4),
        pytest.param(
            *("lora", "services.finetune.recipes.candidates.folder:Candidates.note", 1),
            marks=pytest.mark.slow,
        ),
        pytest.param("full", "services.finetune.recipes.saving:os.fsync", 2, marks=pytest.mark.slow),
    ],
)
def test_what_was_killed_goes_on_to_the_same_weights(which, place, count, language_model, chats, tmp_path):
    recipe, options, more = KILLS[which]
    train(chats, language_model, tmp_path / "whole", tmp_path / "store/whole/1", options)
    arguments = ["--data", str(chats), "--base", str(language_model), "--work", str(tmp_path / "parts")]
    arguments += ["--out", str(tmp_path / "store/parts/1"), "--steps", str(options.steps)]
    arguments += ["--rate", str(options.rate), "--device", "cpu", *ARGUMENTS, *more]
    killed(recipe.__name__, arguments, place, count)
    recipe.main(arguments)
    for step in range(2, options.steps + 1, 2):
        one, other = (
            load_file(next((tmp_path / f"{name}/candidates/{step:06d}").glob("*.safetensors")))
            for name in ("whole", "parts")
        )
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_rows_at_once_change_nothing_but_rounding(language_model, chats, tmp_path):
    found = [
        train(
            chats,
            language_model,
            tmp_path / f"w{count}",
            tmp_path / f"store/m/{count}",
            replace(LORA, at_once=count),
        )
        for count in (1, 4)
    ]
    one, other = (each.metrics["held_out_loss"] for each in found)
    assert one == pytest.approx(other, rel=1e-3)


def test_layers_are_run_again_to_the_same_gradients(language_model, chats, tmp_path):
    found = [
        train(
            chats,
            language_model,
            tmp_path / f"w{again}",
            tmp_path / f"store/m/{again}",
            replace(LORA, recompute=again),
        )
        for again in (False, True)
    ]
    assert found[0].metrics["held_out_loss"] == pytest.approx(found[1].metrics["held_out_loss"], rel=1e-4)


class Impatient(Alone):
    """Wants a stop after some steps."""

    def __init__(self, asked):
        self.asked, self.offers = asked, []

    def wants_stop(self):
        self.asked -= 1
        return self.asked < 0

    def offered(self, candidate):
        self.offers.append(candidate.step)
        return True


def test_a_job_scores_on_its_validation_data_and_stops_when_asked(language_model, chats, tmp_path):
    given = {"batch": 4, "window": 48, "lora_rank": 2, "preview_tokens": 4}
    task = Task(tmp_path / "work", chats, chats, language_model, "tiny:1", parameters=given)
    task = replace(task, steps=4, checkpoint_every=2, device="cpu", training_data="24 chats")
    with pytest.raises(Stopped, match="stopped after step 3 of 4"):
        lora_lm.run(task, Impatient(2))
    watcher = Impatient(100)
    lora_lm.run(task, watcher)
    assert watcher.offers == [2, 4]
    assert all((task.candidate(step) / "adapter_config.json").exists() for step in (2, 4))
    assert manifest_of(task.candidate(4)).training_data == "24 chats"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data", "EMPTY"], "holds no text: .txt, .md, or .jsonl"),
        (["--base", "EMPTY"], "holds no model to start from"),
        (["--base", "CLIP"], "is a text_image_embedder; a language_model is needed to start from"),
        (["--lora-targets", "no_such_layer"], "lora_targets: Target modules"),
        (["--steps", "0"], "steps, checkpoint_every and keep_checkpoints begin at 1"),
    ],
)
def test_what_cannot_be_done_ends_with_a_sentence(arguments, said, language_model, chats, tmp_path, capsys):
    from tests.unit.recipes.tiny_unet import MODELS

    (tmp_path / "empty").mkdir()
    named = {"EMPTY": str(tmp_path / "empty"), "CLIP": str(MODELS / "peeps-clip/2")}
    given = ["--data", str(chats), "--base", str(language_model), "--work", str(tmp_path / "w")]
    given += ["--out", str(tmp_path / "s/m/1"), *(named.get(each, each) for each in arguments)]
    with pytest.raises(SystemExit) as ended:
        lora_lm.main(given)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
