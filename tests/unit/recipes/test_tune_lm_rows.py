"""What lora_lm and full_lm learn: turns of the assistant, rows of pieces that do not see each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.finetune.recipes.choices.tune_lm import FullOptions
from services.finetune.recipes.device import Device
from services.finetune.recipes.language_tuning.documents import of_text, read_documents
from services.finetune.recipes.language_tuning.network import Network
from services.finetune.recipes.language_tuning.rows import packed, pieces_of
from services.finetune.recipes.language_tuning.splitting import split
from services.finetune.recipes.language_tuning.training import Training
from services.finetune.recipes.watching import Alone
from tests.unit.sampler import language_models as tiny

FULL = FullOptions(batch=4, at_once=4, window=48, device="cpu")


@pytest.fixture(scope="module")
def tokenizer(language_model):
    return network_of(language_model).tokenizer


def network_of(folder, options=FULL):
    return Network(folder, options, Device("cpu", 1))


def test_of_a_conversation_only_the_assistants_turns_are_learnt(chats, tokenizer):
    first = read_documents(chats, tokenizer, Alone().logged)[0]
    assert first.text == "<user>What is 0?\n<assistant>A whale of 0.\n<user>Sure?\n<assistant>Aye.\n"
    assert [first.text[begin:end] for begin, end in first.spans] == ["A whale of 0.\n", "Aye.\n"]
    assert first.opening == "<user>What is 0?\n<assistant>"
    (piece,) = pieces_of([first], tokenizer, 100)
    assert tokenizer.decode(piece.ids[piece.learnt]) == "A whale of 0.\nAye.\n"


def test_a_template_that_renders_turns_anew_gives_a_document_a_turn(tmp_path, tokenizer, chats):
    """As templates do that keep a model's thoughts in its last turn only."""
    template = (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}"
        "{% if m.role == 'assistant' and loop.last %} (thought){% endif %}{{ '\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant: {% endif %}"
    )
    own, tokenizer.chat_template = tokenizer.chat_template, template
    try:
        documents = read_documents(chats, tokenizer, Alone().logged)[:2]
    finally:
        tokenizer.chat_template = own
    shown = [[each.text[begin:end] for begin, end in each.spans] for each in documents]
    assert shown == [["A whale of 0. (thought)\n"], ["Aye. (thought)\n"]]
    assert documents[1].text.startswith("user: What is 0?\nassistant: A whale of 0.\n")


def test_a_model_without_a_template_gets_a_plain_one(tmp_path, chats):
    bare = tiny.write("llama", tmp_path / "bare")
    document = read_documents(chats, network_of(bare).tokenizer, Alone().logged)[0]
    assert document.text == (
        f"User: What is 0?\nAssistant: A whale of 0.{tiny.END}\nUser: Sure?\nAssistant: Aye.{tiny.END}\n"
    )
    assert document.text[slice(*document.spans[0])] == f" A whale of 0.{tiny.END}\n"


def test_lines_that_cannot_be_used_are_left_out_with_a_word(tmp_path, tokenizer, capsys):
    file = tmp_path / "mixed.jsonl"
    lines = [
        '{"text": "Call me"}',
        "no json",
        '{"messages": [{"role": "user", "content": "hi"}]}',
        '{"text": ""}',
    ]
    file.write_text("\n".join(lines))
    assert [each.text for each in read_documents(file, tokenizer, Alone().logged)] == ["Call me"]
    assert "left out of mixed.jsonl: 3 lines; line 2 is not JSON" in capsys.readouterr().err


def test_texts_end_with_the_end_token_and_are_cut_at_the_window(tokenizer):
    ids = tokenizer(tiny.TEXT).input_ids
    pieces = pieces_of([of_text(tiny.TEXT)], tokenizer, 40)
    told = np.concatenate([each.ids[each.learnt] for each in pieces])
    assert told.tolist() == [*ids, tokenizer.eos_token_id][1:]
    assert all(len(each.ids) <= 40 for each in pieces)
    assert [int(each.ids[0]) for each in pieces] == [ids[0], *(int(each.ids[-1]) for each in pieces[:-1])]


def test_rows_hold_every_piece_once_and_few_places_are_empty(tokenizer):
    texts = [of_text(" ".join(tiny.TEXT.split()[:count])) for count in (3, 9, 2, 7, 4, 30, 5)]
    pieces = pieces_of(texts, tokenizer, 48)
    rows = packed(pieces, 48, apart=False)
    held = {
        tuple(rows.ids[row][rows.piece[row] == number])
        for row in range(len(rows))
        for number in range(1, rows.piece[row].max() + 1)
    }
    assert held == {tuple(each.ids) for each in pieces}
    assert rows.tokens == sum(int(each.learnt.sum()) for each in pieces)
    assert (rows.piece > 0).mean() > 0.8
    assert len(packed(pieces, 48, apart=True)) == len(pieces)


@pytest.mark.parametrize(
    ("kind", "apart"),
    [("llama", True), ("gpt2", True), ("qwen3", True), ("gpt_neox", True), ("mistral_sliding", False)],
)
def test_pieces_of_a_row_do_not_see_each_other_where_the_model_allows_it(kind, apart, tmp_path):
    network = network_of(tiny.write(kind, tmp_path / kind))
    assert network.keeps_apart(64) is apart


def test_the_loss_of_packed_rows_is_that_of_each_piece_alone(language_model, chats):
    network = network_of(language_model)
    documents = read_documents(chats, network.tokenizer, Alone().logged)
    training = Training(network, documents[:6], documents[6:8], FULL)
    assert not training.is_apart
    alone = 0.0
    for piece in pieces_of(documents[6:8], network.tokenizer, FULL.window):
        ids = torch.from_numpy(piece.ids)[None]
        with torch.no_grad():
            logits = network.model(input_ids=ids).logits[0, :-1]
        right = torch.where(torch.from_numpy(piece.learnt[1:]), ids[0, 1:], -100)
        alone += functional.cross_entropy(logits, right, reduction="sum").item()
    assert training.held_out_loss() == pytest.approx(alone / training.measured.tokens, rel=1e-4)


def test_previews_begin_as_wished_or_as_held_out_texts(language_model, chats):
    network = network_of(language_model)
    documents = read_documents(chats, network.tokenizer, Alone().logged)[:3]
    texts = [of_text("Call me Ishmael."), of_text("some years ago")]

    def prompts(held_out, wished=""):
        return Training(network, held_out, held_out, replace(FULL, prompts=wished)).prompts

    assert prompts(documents[:1]) == [("<user>What is 0?\n<assistant>", True)]
    assert prompts(documents, "Who?|Why?") == [
        ("<user>Who?\n<assistant>", True),
        ("<user>Why?\n<assistant>", True),
    ]
    assert prompts(texts) == [("Call me Ishmael.", False), ("some years ago", False)]
    assert prompts(texts, "Once") == [("Once", False)]


def test_an_epoch_shows_every_row_once(language_model, chats):
    network = network_of(language_model)
    documents = read_documents(chats, network.tokenizer, Alone().logged)
    training = Training(network, documents[:20], documents[20:], replace(FULL, batch=1))
    count = len(training.rows)
    epochs = [[next(training.places(step)) for step in range(first, first + count)] for first in (0, count)]
    assert [sorted(each) for each in epochs] == [list(range(count))] * 2
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(
    ("documents", "learnt", "held_out"),
    [
        ([of_text(f"text {number}") for number in range(40)], 38, 2),
        ([of_text("one"), of_text("two"), of_text("three")], 2, 1),
        ([of_text("alone")], 1, 1),
        ([of_text("many words " * 400), of_text("few")], 2, 1),
    ],
)
def test_some_is_kept_back_to_measure_on(documents, learnt, held_out):
    parts = split(documents, 0.05, 1)
    assert [len(each) for each in parts] == [learnt, held_out]
    assert parts == split(documents, 0.05, 1)
    if len(documents) > 1:
        assert not {each.text for each in parts[0]} & {each.text for each in parts[1]}
