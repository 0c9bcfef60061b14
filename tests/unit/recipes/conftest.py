"""A tiny language model and conversations to tune it on; a text encoder's tokens learnt in little time."""

from __future__ import annotations

import json

import pytest

from services.finetune.recipes.peeps import words
from tests.unit.sampler import language_models as tiny


@pytest.fixture(scope="session", autouse=True)
def few_captions():
    """Enough for all tokens that are asked for; to draw the 20,000 of a real training takes seconds."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(words, "_SAMPLE", 1_000)
        yield


def conversations(count):
    for number in range(count):
        turns = [
            ("user", f"What is {number}?"),
            ("assistant", f"A whale of {number}."),
            ("user", "Sure?"),
            ("assistant", "Aye."),
        ]
        yield {"messages": [{"role": role, "content": content} for role, content in turns]}


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    """A tiny llama with a chat template."""
    return tiny.write("llama", tmp_path_factory.mktemp("hub") / "tiny", chat=True)


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    file = tmp_path_factory.mktemp("data") / "chats.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in conversations(24)))
    return file
