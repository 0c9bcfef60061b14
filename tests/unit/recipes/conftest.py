"""A tiny language model and conversations to tune it on."""

from __future__ import annotations

import json

import pytest

from tests.unit.sampler import language_models as tiny


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
