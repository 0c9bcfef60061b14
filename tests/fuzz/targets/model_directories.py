"""Hugging Face directories: config.json and its companions, chat templates, indices of pipelines.

The first line is the file's name; other files are good ones.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from pathlib import Path

from services.common.errors import invalid
from services.common.store import ModelVersion, hub
from services.diffusion.pipelines.directory import memory_bytes
from services.sampler.engine import Message
from services.sampler.transformer.model.chat import ChatTemplate
from services.sampler.transformer.model.directory import describe, family_of
from services.tokenizer.encoders.directory import read_encoder
from tests.fuzz.loading import loaded

REFUSALS = ()
WORDS = (
    *rb"""
        "model_type" "llama" "architectures" "LlamaForCausalLM" "eos_token_id" "hidden_size" null [[[[
        "chat_template" "_class_name" "StableDiffusionPipeline" "modules" "Pooling" "path" -1
    """.split(),
    *(
        b"{{ messages }}",
        b"{% for a in range(9999999) %}",
        b"{{ a.__class__ }}",
        b"{{ raise_exception('a') }}",
    ),
)
_FILES = {
    "config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, '
    b'"num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": 16, "vocab_size": 9, '
    b'"intermediate_size": 8, "eos_token_id": [0]}',
    "tokenizer.json": b"{}",
    "tokenizer_config.json": b'{"chat_template": "{{ messages[0].content }}", "bos_token": "<s>"}',
    "generation_config.json": b'{"eos_token_id": 0, "bos_token_id": 1}',
    "modules.json": b'[{"type": "a.Transformer", "path": ""}, {"type": "a.Pooling", "path": "1_Pooling"}]',
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "sentence_bert_config.json": b'{"max_seq_length": 16}',
    "config_sentence_transformers.json": b'{"prompts": {"query": "q: "}}',
    "chat_template.jinja": b"{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
}
_INDEX = "model_index.json"


def run(data: bytes) -> None:
    name, _, content = data.partition(b"\n")
    changed = name.decode(errors="replace")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if changed == _INDEX:
            (path / _INDEX).write_bytes(content)
        elif changed in _FILES:
            _write(path, changed, content)
        else:
            return
        version = hub.describe("hf:a/b", "1", path, "hub")
        with loaded():
            if changed == _INDEX:
                memory_bytes(path, "auto")
            else:
                _opened(path, version)


def _write(folder: Path, changed: str, content: bytes) -> None:
    for name, usual in _FILES.items():
        if name == "chat_template.jinja" and changed != name:
            continue
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content if name == changed else usual)


def _opened(folder: Path, version: ModelVersion) -> None:
    description = describe(folder)
    description.window, description.cached_numbers  # noqa: B018  # asked for to be computed
    family_of(description)
    read_encoder(version.manifest.config, folder, 16)
    if len(description.chat_template) > 300:
        raise invalid("chat", "templates of any length are the operator's own; here they end soon")
    ChatTemplate(description.chat_template, description.special_tokens, None).render([Message("user", "a")])


def seeds() -> Iterable[bytes]:
    for name, content in _FILES.items():
        yield name.encode() + b"\n" + content
    yield _INDEX.encode() + b"\n" + json.dumps({"_class_name": "StableDiffusionPipeline"}).encode()
