"""Encoders of every family against sentence-transformers, in both number formats, alone and in company."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from sentence_transformers import CrossEncoder, SentenceTransformer

from services.common.errors import Code, Reason, ServiceError
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.store import ModelStore
from services.tokenizer import families
from services.tokenizer.encoders.directory import read_encoder
from services.tokenizer.encoders.encoder import pool
from services.tokenizer.encoders.graphs import SentenceEncoder
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.engine import EmbedOptions, Input, Pooling, Precision, Truncation, finish
from services.tokenizer.families import bert
from services.tokenizer.loader import ModelLoader
from tests.unit.tokenizer.encoder_models import FAMILIES, WORDS, directory, sentence_transformer

# transformers and torch announce changes to come; nothing here depends on them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

TRIED = [
    each if each in {"bert", "modernbert"} else pytest.param(each, marks=pytest.mark.slow)
    for each in FAMILIES
]
"""The same code opens them all; the slow ones differ from bert by names and by where positions begin."""

QUERY = "the whale swam under the ship"
TEXTS = [" ".join(WORDS.split()[start : start + size]) for start, size in ((0, 1), (3, 9), (9, 30), (5, 4))]


class Opened:
    """Models opened as the service opens them, from directories in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.store = ModelStore([], folder / "cache", [folder])
        self.exporter = StoreExporter(folder / "cache", family_graphs(families))
        opener = EncoderOpener(self.store, self.exporter, Device("cpu", 1))
        self.loader = ModelLoader(self.store, opener)
        self._kept = {}

    async def open(self, path):
        if path not in self._kept:
            version = await self.store.resolve(f"file:{path}")
            self._kept[path] = self.loader.load(version, await self.store.fetch(version))
        return self._kept[path]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    return Opened(tmp_path_factory.mktemp("encoders"))


async def embedder(opened, family):
    path = opened.folder / family
    if not path.exists():
        prompts = {"query": "the sea ", "passage": "a storm "}
        sentence_transformer(directory(path, family), prompts=prompts)
    return await opened.open(path), path


def inputs(texts):
    return [Input(f"inputs[{i}]", text) for i, text in enumerate(texts)]


def vectors(model, texts, precision=Precision.FP32, **options):
    rows = model.prepare(inputs(texts), EmbedOptions(**options))
    made = model.run(rows, precision)
    return np.array([finish(vector, None, model.normalize) for vector in made])


@pytest.mark.parametrize("family", TRIED)
async def test_vectors_equal_those_of_sentence_transformers(opened, family):
    model, path = await embedder(opened, family)
    expected = SentenceTransformer(str(path), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors(model, TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("family", TRIED)
async def test_a_vector_in_8_bits_is_near_and_the_same_alone_and_in_any_batch(opened, family):
    model, _ = await embedder(opened, family)
    assert model.precisions[0] is Precision.INT8
    exact, rounded = vectors(model, TEXTS), vectors(model, TEXTS, Precision.INT8)
    assert (exact != rounded).any()
    assert (exact * rounded).sum(axis=1).min() > 0.985
    for precision, together in ((Precision.INT8, rounded), (Precision.FP32, exact)):
        for text, vector in zip(TEXTS, together, strict=True):
            np.testing.assert_allclose(vectors(model, [text], precision)[0], vector, atol=1e-6)


@pytest.mark.parametrize("pooling", [Pooling.CLS, Pooling.LAST, Pooling.MAX])
async def test_pooling_may_be_asked_for(opened, pooling, tmp_path):
    model, path = await embedder(opened, "bert")
    names = {Pooling.CLS: "cls", Pooling.LAST: "lasttoken", Pooling.MAX: "max"}
    other = sentence_transformer(Path(shutil.copytree(path, tmp_path / "other")), names[pooling])
    assert read_encoder({"hidden_size": 64}, other, 64).pooling is pooling
    expected = SentenceTransformer(str(other), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors(model, TEXTS, pooling=pooling), expected, atol=1e-5)


@pytest.mark.parametrize("pooling", Pooling)
def test_exported_graphs_pool_as_the_engine_does(pooling):
    states = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    graph = SentenceEncoder(_States(states), pooling, normalize=False)
    _, pooled = graph(torch.zeros(3, 5, dtype=torch.long), mask)
    np.testing.assert_allclose(pooled.numpy(), pool(states.numpy(), mask.numpy(), pooling), atol=1e-6)


class _States(torch.nn.Module):
    """Stands where an encoder would: gives the same states whatever it reads."""

    def __init__(self, states):
        super().__init__()
        self.last_hidden_state = states

    def forward(self, input_ids, attention_mask):
        return self


async def test_rows_of_different_pooling_share_a_batch(opened):
    model, _ = await embedder(opened, "bert")
    kinds = [Pooling.CLS, Pooling.MEAN, Pooling.LAST, Pooling.MAX]
    rows = [
        row
        for each, kind in zip(inputs(TEXTS), kinds, strict=True)
        for row in model.prepare([each], EmbedOptions(pooling=kind))
    ]
    for row, vector in zip(rows, model.run(rows, Precision.FP32), strict=True):
        np.testing.assert_allclose(model.run([row], Precision.FP32)[0], vector, atol=1e-6)


@pytest.mark.parametrize("family", ["bert", pytest.param("roberta", marks=pytest.mark.slow)])
async def test_a_reranker_gives_the_scores_of_sentence_transformers(opened, family):
    path = directory(opened.folder / f"{family}-rank", family, labels=1)
    model = await opened.open(path)
    texts = [text for text in TEXTS if len(text) < 60]
    pairs = [(QUERY, text) for text in texts]
    expected = CrossEncoder(str(path), device="cpu").predict(pairs, activation_fn=torch.nn.Identity())
    rows = model.prepare_pairs(Input("query", QUERY), inputs(texts), Truncation.REFUSE)
    scores = np.array(model.run(rows, Precision.FP32)).ravel()
    np.testing.assert_allclose(scores, expected, atol=1e-4)
    alone = np.array([model.run([row], Precision.INT8)[0] for row in rows])
    np.testing.assert_allclose(alone, np.array(model.run(rows, Precision.INT8)), atol=1e-6)


async def test_prefixes_come_from_the_configuration(opened):
    model, path = await embedder(opened, "bert")
    expected = SentenceTransformer(str(path), device="cpu").encode(TEXTS, prompt_name="query")
    np.testing.assert_allclose(vectors(model, TEXTS, prompt="query"), expected, atol=1e-5)
    with pytest.raises(ServiceError, match="query, passage") as caught:
        model.prepare(inputs(TEXTS), EmbedOptions(prompt="document"))
    assert caught.value.violations[0].field == "options.prompt_name"


async def test_what_is_too_long_is_refused_or_cut_as_asked(opened):
    model, path = await embedder(opened, "bert")
    long = " ".join([WORDS] * 3)
    with pytest.raises(ServiceError, match=r"has \d+ tokens, the model reads 60") as caught:
        model.prepare(inputs(["the", long]), EmbedOptions())
    assert caught.value.violations[0].field == "inputs[1]"
    (row,) = model.prepare(inputs([long]), EmbedOptions(truncation=Truncation.END))
    assert (len(row.ids), row.truncated) == (60, True)
    expected = SentenceTransformer(str(path), device="cpu").encode([long])
    np.testing.assert_allclose(vectors(model, [long], truncation=Truncation.END), expected, atol=1e-5)
    (start,) = model.prepare(inputs([long]), EmbedOptions(truncation=Truncation.START))
    assert start.ids[0] == row.ids[0]
    assert start.ids[1:-1] != row.ids[1:-1]


async def test_ids_stand_for_the_text_they_come_from(opened):
    model, _ = await embedder(opened, "bert")
    (row,) = model.prepare(inputs([TEXTS[1]]), EmbedOptions())
    (same,) = model.prepare([Input("inputs[0]", ids=row.ids[1:-1])], EmbedOptions())
    assert same.ids == row.ids
    with pytest.raises(ServiceError, match="vocabulary"):
        model.prepare([Input("inputs[0]", ids=[4, 100_000])], EmbedOptions())


def without_template(path):
    """The directory with a tokenizer that puts nothing around a text."""
    file = path / "tokenizer.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "post_processor": None}))
    return path


async def test_texts_of_which_no_ids_can_be_made_are_refused(opened):
    """No token is left, and never a vector of nothing; or there is none for a letter."""
    path = without_template(directory(opened.folder / "no-unknown", "bert"))
    described = json.loads((path / "tokenizer.json").read_text())
    del described["model"]["vocab"]["[UNK]"]
    described["added_tokens"] = [t for t in described["added_tokens"] if t["content"] != "[UNK]"]
    (path / "tokenizer.json").write_text(json.dumps(described))
    model = await opened.open(path)
    with pytest.raises(ServiceError, match="no token") as caught:
        model.prepare(inputs(["the whale", "   "]), EmbedOptions())
    assert caught.value.violations[0].field == "inputs[1]"
    with pytest.raises(ServiceError, match="cannot cut") as caught:
        model.prepare(inputs(["后"]), EmbedOptions())
    assert caught.value.code is Code.FAILED_PRECONDITION


async def test_a_model_that_reads_no_more_than_its_template_is_refused(opened):
    path = sentence_transformer(directory(opened.folder / "tiny-window", "bert"))
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 2}')
    assert "its template alone has 2" in (await refusal(opened, path)).message


def test_without_transformers_the_export_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "services.tokenizer.encoders.graphs", raising=False)
    with pytest.raises(ServiceError, match="transformers: install the 'train' extra"):
        bert.graphs({}, tmp_path)


async def test_special_tokens_in_a_text_are_text(opened):
    model, _ = await embedder(opened, "bert")
    (row,) = model.prepare(inputs(["the [SEP] whale"]), EmbedOptions())
    assert row.ids.count(3) == 1  # the template's own


async def test_a_directory_without_a_tokenizer_says_so(opened):
    path = directory(opened.folder / "bare", "bert")
    (path / "tokenizer.json").unlink()
    error = await refusal(opened, path)
    assert "tokenizer.json" in error.message


async def test_weights_of_another_shape_are_refused_by_name(opened):
    path = directory(opened.folder / "misshapen", "bert")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "intermediate_size": 160}))
    assert "intermediate" in (await refusal(opened, path)).message


async def test_missing_weights_are_refused_by_name(opened):
    path = directory(opened.folder / "short", "bert")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    assert "encoder.layer.2" in (await refusal(opened, path)).message


async def test_a_tokenizer_larger_than_the_embeddings_is_refused(opened):
    path = directory(opened.folder / "large-tokenizer", "bert", vocab_size=40)
    assert "only 40 rows" in (await refusal(opened, path)).message


async def test_a_classifier_is_no_reranker(opened):
    path = directory(opened.folder / "classifier", "bert", labels=3)
    assert "several labels" in (await refusal(opened, path)).message


async def test_a_module_that_is_not_run_here_is_refused(opened):
    path = sentence_transformer(directory(opened.folder / "dense", "bert"))
    modules = json.loads((path / "modules.json").read_text())
    modules[-1]["type"] = "sentence_transformers.models.Dense"
    (path / "modules.json").write_text(json.dumps(modules))
    assert "Dense" in (await refusal(opened, path)).message


async def test_an_unknown_family_is_refused_with_the_known_ones(opened):
    path = directory(opened.folder / "unknown", "bert")
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps({**config, "model_type": "t5"}))
    version = await opened.store.resolve(f"file:{path}")
    with pytest.raises(ServiceError, match="modernbert"):
        opened.loader.load(version, path)


async def test_a_demand_for_cuda_does_not_end_on_the_cpu(opened):
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA: tests/gpu look at it")
    _, path = await embedder(opened, "bert")
    opener = EncoderOpener(opened.store, opened.exporter, Device("cuda", 1))
    model = opener.open(await opened.store.resolve(f"file:{path}"), path)
    with pytest.raises(ServiceError, match="cuda"):
        vectors(model, TEXTS)


async def refusal(opened, path):
    with pytest.raises(ServiceError) as caught:
        await opened.open(path)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.LOAD_FAILED)
    return caught.value
