"""Pretraining: the same model straight through and stopped on the way; Transformers reads it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from services.finetune.recipes import pretrain_lm
from services.finetune.recipes.language_model import chapters
from services.finetune.recipes.language_model.baseline import kneser_ney_bits
from services.finetune.recipes.language_model.data import Data
from services.finetune.recipes.language_model.muon import orthogonal
from services.finetune.recipes.language_model.options import Options
from services.finetune.recipes.language_model.parallel import Team
from services.finetune.recipes.language_model.training import Trainer, read
from services.finetune.recipes.version import Corpus
from services.sampler.ngrams.tokens import Tokens

SENTENCES = (
    "The whale rose slowly. ",
    "Ahab looked at the sea. ",
    "Nobody spoke a word. ",
    "A storm came on. ",
)
TINY = Options(
    vocabulary=300,
    width=64,
    hidden=64,
    layers=2,
    heads=2,
    kv_heads=1,
    window=32,
    steps=12,
    batch=4,
    warm_up=2,
    save_every=3,
    evaluate_every=6,
    baseline_order=3,
)


@pytest.fixture(scope="module")
def corpus():
    chance = np.random.default_rng(0)
    texts = []
    for _ in range(2):
        parts = ["".join(chance.choice(SENTENCES, 60)) for _ in range(9)]
        texts.append("\n\n".join(f"{'IVX'[k % 3] * (k // 3 + 1)}\n\n{part}" for k, part in enumerate(parts)))
    return Corpus(texts, "two invented books")


def test_stopped_and_resumed_is_straight_through(corpus, tmp_path):
    straight = pretrain_lm.train(corpus, tmp_path / "a", tmp_path / "store/a/1", TINY)
    work = tmp_path / "b"

    class Stop(Exception):
        pass

    def stop(*_):
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_note", stop)  # at step 6, before its checkpoint
        with pytest.raises(Stop):
            pretrain_lm.train(corpus, work, tmp_path / "store/b/1", TINY)
    assert torch.load(work / "checkpoint.pt", weights_only=True)["step"] == 3
    resumed = pretrain_lm.train(corpus, work, tmp_path / "store/b/1", TINY)
    assert resumed.config["curve"][-1]["train_loss"] == straight.config["curve"][-1]["train_loss"]
    first, second = (load_file(tmp_path / f"store/{name}/1/model.safetensors") for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert straight.metrics["tokens_seen"] == 12 * 4 * 32
    assert straight.metrics["kneser_ney_order"] in (2.0, 3.0)
    assert straight.metrics["kneser_ney_bits_per_byte"] > 0
    assert (
        straight.config["curve"][-1]["held_out_bits_per_byte"]
        < straight.config["curve"][0]["held_out_bits_per_byte"]
    )


def test_the_directory_is_what_transformers_reads(corpus, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "store/tiny/1"
    manifest = pretrain_lm.train(corpus, tmp_path / "work", out, TINY)
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(out)
    ids = torch.tensor([tokenizer("The whale rose slowly.").input_ids])
    trainer = Trainer(TINY, tmp_path / "work", Team())
    trainer.resume()
    with torch.no_grad():
        own = trainer.model.unembed(read(trainer.model, ids))
        theirs = model(ids).logits[0]
    assert (own - theirs).abs().max() < 0.02, "weights are kept in 16 bits"
    assert manifest.kind == "language_model"
    assert json.loads((out / "config.json").read_text())["eos_token_id"] == 0


def test_another_works_checkpoint_is_refused(corpus, tmp_path):
    pretrain_lm.train(corpus, tmp_path / "work", tmp_path / "store/a/1", replace(TINY, steps=3))
    with pytest.raises(ValueError, match="other options"):
        pretrain_lm.train(corpus, tmp_path / "work", tmp_path / "store/a/2", TINY)


def test_the_same_chapters_are_held_out_of_every_book():
    book = "\n\n".join(f"{numeral}\n\n" + "word " * 60 for numeral in ("I", "II", "III", "IV", "V", "VI"))
    parts = chapters.split([book, "A text without chapters"])
    assert [part.split("\n")[0] for part in parts.held_out] == ["V"]
    assert len(parts.train) == 6
    tales = "\n\n".join(
        f"The Tale of {name}\n\n" + "Once upon a time " * 20 for name in ("Hans", "Gretel", "Iron")
    )
    assert [part.split("\n")[0] for part in chapters.chapters(tales)] == [
        "The Tale of Hans",
        "The Tale of Gretel",
        "The Tale of Iron",
    ]


def test_orthogonal_makes_all_singular_values_about_one():
    torch.manual_seed(0)
    for shape in ((20, 50), (50, 20)):
        values = torch.linalg.svdvals(orthogonal(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.5


def test_the_baseline_gets_better_with_order(corpus, tmp_path):
    data = Data(corpus, tmp_path, TINY)
    bits = kneser_ney_bits(data.train, data.held_out, Tokens(tmp_path / "tokenizer.json"), 4)
    assert sorted(bits) == [2, 3, 4]
    assert bits[4] < bits[2]
