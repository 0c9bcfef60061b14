"""Pictures ranked by a prompt: the shipped peeps-clip, by the graphs that the tokenizer's set-up made."""

from pathlib import Path

import numpy as np
import pytest

from services.common.export.exporter import StoreExporter, family_graphs
from services.common.residency.export import Exporter
from services.common.store import ModelStore
from services.common.store.disk import DiskLayer
from services.common.text_image.exporting import graphs_of_embedder
from services.diffusion.loading.rankers import RankerLoader
from services.diffusion.pipelines.placement import Placement
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.tokenizer import families as tokenizer_families
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.engine import EmbedOptions, Input, Precision
from tests.unit.clip_models import TEXTS, directory, pictures, png

ROOT = Path(__file__).parents[3]
MODELS = ROOT / "models"


class Opened:
    """A version and its ranker; the cache stays empty where set-up has exported the graphs."""

    def __init__(self, store, exporter: Exporter):
        self.loader = RankerLoader(exporter, Placement("cpu"), 1)
        self.store = store

    async def open(self, reference):
        version = await self.store.resolve(reference)
        return self.loader.load(version, await self.store.fetch(version))


@pytest.fixture
async def ranker(tmp_path):
    store = ModelStore([DiskLayer(MODELS, "shipped", writable=False)], tmp_path, kept=(MODELS,))
    opened = Opened(store, StoreExporter(tmp_path, graphs_of_embedder, kept=(MODELS,)))
    made = await opened.open("peeps-clip")
    assert not list(tmp_path.glob("exports/*/onnx")), "the graphs are those of the tokenizer's set-up"
    yield made
    made.close()


def test_the_picture_that_a_caption_tells_of_comes_first(ranker):
    peeps = Peeps(HELD_OUT_FOLDER)
    found = 0
    for first in range(0, 200, 8):
        scores = ranker.scores(full_caption(peeps.avatars[first]), list(peeps.images[first : first + 8]))
        assert all(-1.0001 <= score <= 1.0001 for score in scores)
        found += int(np.argmax(scores)) == 0
    assert found >= 0.8 * 25


def test_a_picture_s_score_does_not_depend_on_its_company(ranker):
    images = pictures()
    together = ranker.scores(TEXTS[0], images)
    assert [ranker.scores(TEXTS[0], [each])[0] for each in images] == together


def test_a_prompt_too_long_counts_to_its_end(ranker):
    (score,) = ranker.scores("a smiling person, " * 40, pictures()[:1])
    assert -1 <= score <= 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_scores_are_the_cosines_of_the_embedding_service_whoever_exports(tmp_path):
    folder = directory(tmp_path / "mine")
    store = ModelStore([], tmp_path / "cache", [tmp_path])
    opened = Opened(store, StoreExporter(tmp_path / "cache", graphs_of_embedder))
    ranker = await opened.open(f"file:{folder}")
    written = {each.stat().st_mtime_ns for each in tmp_path.glob("cache/exports/*/onnx/*.onnx")}
    version = await store.resolve(f"file:{folder}")
    exporter = StoreExporter(tmp_path / "cache", family_graphs(tokenizer_families))
    encoder = EncoderOpener(store, exporter, Device("cpu", 1)).open(version, folder)
    assert {each.stat().st_mtime_ns for each in tmp_path.glob("cache/exports/*/onnx/*.onnx")} == written
    inputs = [Input("text", TEXTS[0]), *(Input("image", image=png(each)) for each in pictures())]
    rows = encoder.run(encoder.prepare(inputs, EmbedOptions()), Precision.FP32)
    text, *seen = (each / np.linalg.norm(each) for each in rows)
    np.testing.assert_allclose(ranker.scores(TEXTS[0], pictures()), [text @ each for each in seen], atol=1e-5)
    encoder.close()
    ranker.close()
