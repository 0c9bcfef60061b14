"""tokenizer.json of encodings and models, and a text cut by what was read."""

from __future__ import annotations

import json
from collections.abc import Iterable

from services.tokenizer.families.tokenizer_json import TokenizerJson
from services.tokenizer.tokens.encoding import Specials
from tests.fuzz.loading import loaded

REFUSALS = ()
WORDS = tuple(
    rb"""
        "type" "BPE" "WordPiece" "Unigram" "WordLevel" "vocab" "merges" "unk_token" "a" "ByteLevel"
        "Sequence" "Split" "added_tokens" "special" "normalizer" "pre_tokenizer" "decoder"
        "post_processor" "TemplateProcessing" "Metaspace" "Precompiled" null [[]]
    """.split()
)
_TEXTS = ("a whale", "", "<s>a后\n")


def run(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return  # the file is read as text, see _read
    with loaded():
        encoding = TokenizerJson(text)
        for each in _TEXTS:
            tokens = encoding.encode(each, Specials(around=True), offsets=True)
            encoding.decode([token for token in tokens.ids if encoding.has(token)], skip_special=True)
            encoding.count(each, Specials(frozenset(encoding.special_tokens)))


def seeds() -> Iterable[bytes]:
    added = [
        {"id": 3, "content": "<s>", "special": True, "single_word": False, "lstrip": False, "rstrip": True}
    ]
    added[0]["normalized"] = False
    word = {"type": "WordLevel", "vocab": {"a": 0, "whale": 1, "[UNK]": 2}, "unk_token": "[UNK]"}
    bpe = {"type": "BPE", "vocab": {"a": 0, "w": 1, "aw": 2}, "merges": [["a", "w"]], "byte_fallback": False}
    piece = {"type": "WordPiece", "vocab": {"a": 0, "##b": 1, "[UNK]": 2}, "unk_token": "[UNK]"}
    piece |= {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100}
    unigram = {"type": "Unigram", "vocab": [["<unk>", 0.0], ["a", -1.0]], "unk_id": 0, "byte_fallback": False}
    levels = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    for model, before in (
        (word, {"type": "Whitespace"}),
        (bpe, levels),
        (piece, {"type": "BertPreTokenizer"}),
        (unigram, None),
    ):
        described = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": added,
            "normalizer": None,
        }
        described |= {
            "pre_tokenizer": before,
            "post_processor": None,
            "decoder": levels if before is levels else None,
        }
        yield json.dumps(described | {"model": model}).encode()
