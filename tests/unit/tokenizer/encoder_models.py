"""Tiny encoders in Hugging Face directories, made by the test with random weights."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    "the whale swam under the ship and the captain saw nothing but the sea while a storm rose over the "
    "masts and every sailor held the ropes with both hands until the night was over and the wind was still"
)
SIZES = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
    "max_position_embeddings": 66,
}
FAMILIES = ("bert", "electra", "distilbert", "roberta", "xlm-roberta", "mpnet", "modernbert")
_BYTE_LEVEL = ("roberta", "modernbert")
_TYPED = ("bert", "electra")


@cache  # training breaks ties as it likes: two trainings differ
def wordpiece() -> Tokenizer:
    """As BERT cuts: lower case, word pieces, [CLS] text [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator([WORDS], trainers.WordPieceTrainer(vocab_size=160, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return tokenizer


@cache
def byte_level() -> Tokenizer:
    """As RoBERTa cuts: bytes in pairs, <s> text </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return tokenizer


def directory(folder: Path, family: str, *, labels: int = 0, seed: int = 0, **config: object) -> Path:
    """An encoder of ``family`` in ``folder``; with ``labels`` a classifier with so many."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = byte_level() if family in _BYTE_LEVEL else wordpiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    pad = 1 if family in (*_BYTE_LEVEL, "xlm-roberta", "mpnet") else 0
    settings = {**SIZES, "vocab_size": size, "pad_token_id": pad, **config}
    if family == "distilbert":
        names = {
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
        }
        settings = {names.get(name, name): value for name, value in settings.items()}
    if labels:
        settings["num_labels"] = labels
    if family == "modernbert":
        settings |= {"cls_token_id": 0, "bos_token_id": 0, "eos_token_id": 2, "sep_token_id": 2}
    torch.manual_seed(seed)
    made = transformers.AutoConfig.for_model(family, **settings)
    kind = transformers.AutoModelForSequenceClassification if labels else transformers.AutoModel
    model = kind.from_config(made)
    with torch.no_grad():
        for parameter in model.parameters():  # biases begin at zero, and would hide a lost one
            parameter.add_(torch.randn_like(parameter) * 0.05)
    model.save_pretrained(folder)
    mask = "<unk>" if family in _BYTE_LEVEL else "[UNK]"
    special: dict[str, object] = {
        "pad_token": "<pad>" if family in _BYTE_LEVEL else "[PAD]",
        "unk_token": mask,
    }
    if family in _TYPED:
        special["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    special |= {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(special))
    return folder


def sentence_transformer(
    folder: Path, pooling: str = "mean", normalize: bool = True, prompts: dict[str, str] | None = None
) -> Path:
    """Write beside an encoder what sentence-transformers keeps there."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    flags = {"mean": "mean_tokens", "cls": "cls_token", "max": "max_tokens", "lasttoken": "lasttoken"}
    size = json.loads((folder / "config.json").read_text())
    config = {"word_embedding_dimension": size.get("hidden_size") or size["dim"]}
    config |= {f"pooling_mode_{flag}": name == pooling for name, flag in flags.items()}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 60, "do_lower_case": false}')
    config = {"prompts": prompts or {}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(config))
    return folder
