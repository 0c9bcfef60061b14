"""The real MiniLM against sentence-transformers, in both number formats, alone and in any batch."""

import random
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from services.common.export.exporter import StoreExporter, family_graphs
from services.common.store import ModelStore
from services.common.store.disk import DiskLayer
from services.tokenizer import families
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.engine import EmbedOptions, Input, Precision, Truncation, finish

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def prose():
    """Ordinary English, some four thousand words: this repository's own."""
    return " ".join((ROOT / name).read_text() for name in ("README.md", "LICENSE", "NOTICE")).split()


def mixed_texts(count):
    """Texts of 3 to 220 words."""
    words, chosen = prose(), random.Random(7)
    starts = [chosen.randrange(len(words) - 220) for _ in range(count)]
    return [" ".join(words[start : start + chosen.randint(3, 220)]) for start in starts]


@pytest.fixture(scope="module")
def texts():
    return mixed_texts(80)


@pytest.fixture(scope="module")
def reference(texts):
    return SentenceTransformer(str(MODELS / "minilm" / "1"), device="cpu").encode(texts)


@pytest.fixture
async def minilm(tmp_path):
    """As the service opens it, from the graphs made at set-up."""
    store = ModelStore([DiskLayer(MODELS, "shipped", writable=False)], tmp_path, kept=(MODELS,))
    exporter = StoreExporter(tmp_path, family_graphs(families), kept=(MODELS,))
    version = await store.resolve("minilm")
    model = EncoderOpener(store, exporter, Device("cpu", 1)).open(version, await store.fetch(version))
    assert not list(tmp_path.glob("exports/*/onnx")), "set-up has exported it"
    yield model
    model.close()


def vectors(model, texts, precision):
    inputs = [Input(f"inputs[{i}]", text) for i, text in enumerate(texts)]
    rows = model.prepare(inputs, EmbedOptions(truncation=Truncation.END))
    made = [
        vector for start in range(0, len(rows), 4) for vector in model.run(rows[start : start + 4], precision)
    ]
    return np.array([finish(vector, None, model.normalize) for vector in made])


async def test_vectors_equal_those_of_sentence_transformers(minilm, texts, reference):
    np.testing.assert_allclose(vectors(minilm, texts, Precision.FP32), reference, atol=1e-4)


async def test_8_bits_are_near_the_exact_vectors(minilm, texts, reference):
    cosines = (vectors(minilm, texts, Precision.INT8) * reference).sum(axis=1)
    assert cosines.mean() >= 0.99
    assert cosines.min() >= 0.985


@pytest.mark.parametrize("precision", [Precision.INT8, pytest.param(Precision.FP32, marks=pytest.mark.slow)])
async def test_a_vector_is_the_same_alone_and_in_any_batch(minilm, texts, precision):
    alone = [vectors(minilm, [text], precision)[0] for text in texts[:24]]
    for seed in range(3):
        order = random.Random(seed).sample(range(24), 24)
        together = vectors(minilm, [texts[place] for place in order], precision)
        for place, vector in zip(order, together, strict=True):
            np.testing.assert_allclose(vector, alone[place], atol=1e-6)
