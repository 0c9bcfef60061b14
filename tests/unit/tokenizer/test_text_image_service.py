"""Texts and pictures in one space through a real server, with the shipped peeps-clip."""

import asyncio
import random
from pathlib import Path

import grpc
import numpy as np
import pytest

from pequod.common.v1 import Image, TokenIds
from pequod.tokenizer import v1
from services.common.export.exporter import StoreExporter, family_graphs
from services.common.metrics import Metrics
from services.common.store import Kind, ModelStore
from services.common.store.settings import StoreSettings
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from services.tokenizer import families
from services.tokenizer.__main__ import TokenizerProcess
from services.tokenizer.encoders.opening import Device, EncoderOpener
from services.tokenizer.encoders.text_image import TextImageEncoder
from services.tokenizer.engine import EmbedOptions, Input, Precision
from services.tokenizer.loader import ModelLoader
from services.tokenizer.settings import TokenizerSettings
from tests.unit.clip_models import DIMENSIONS, TEXTS, directory, pictures, png
from tests.unit.serving import refused, serving

ROOT = Path(__file__).parents[3]
MODEL = "peeps-clip"
CAPTIONS = [
    "drawing of a smiling person with brown skin, red hair and round glasses, blue background",
    "pixel art of a serious person with pale skin, black short hair, green shirt",
    "a face",
]


@pytest.fixture
async def channel(tmp_path):
    """To a running service."""
    metrics = Metrics("tokenizer")
    stores = StoreSettings(
        shipped=ROOT / "models", user=str(tmp_path / "user"), cache=tmp_path / "cache", load_wait=60
    )
    process = TokenizerProcess(TokenizerSettings(preload=(MODEL,)), stores, metrics, threads=1)
    async with serving(process, metrics) as opened:
        yield opened
    assert not list(tmp_path.glob("cache/exports/*/onnx")), "set-up has exported it"


@pytest.fixture
def stub(channel):
    return v1.EmbeddingServiceStub(channel)


@pytest.fixture(scope="module")
def held_out():
    """100 avatars nobody learnt from, as (captions, files)."""
    peeps = Peeps(HELD_OUT_FOLDER)
    return [full_caption(each) for each in peeps.avatars[:100]], [png(each) for each in peeps.images[:100]]


def texts(*values):
    return [v1.EmbedInput(text=each) for each in values]


def images(*files):
    return [v1.EmbedInput(image=Image(data=each)) for each in files]


def asked(inputs, **options):
    return v1.EmbedRequest(model=MODEL, inputs=inputs, options=v1.EmbedOptions(**options))


def vectors(reply):
    return np.array([list(each.values) for each in reply.embeddings])


async def test_captions_find_their_pictures_and_pictures_their_captions(stub, held_out):
    captions, files = held_out
    reply = await stub.Embed(asked([*texts(*captions), *images(*files)]))
    found = vectors(reply)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosines = found[:100] @ found[100:].T
    assert (cosines.argmax(axis=1) == np.arange(100)).mean() >= 0.8
    assert (cosines.argmax(axis=0) == np.arange(100)).mean() >= 0.8


async def test_texts_and_pictures_keep_their_places_in_one_request(stub, held_out):
    _, files = held_out
    mixed = [*texts(CAPTIONS[0]), *images(files[0]), *texts(CAPTIONS[2]), *images(files[1])]
    reply = await stub.Embed(asked(mixed))
    assert reply.dimensions == 128
    assert [each.index for each in reply.embeddings] == [0, 1, 2, 3]
    assert [each.input_tokens > 0 for each in reply.embeddings] == [True, False, True, False]
    assert reply.usage.input_tokens == sum(each.input_tokens for each in reply.embeddings)
    for each, vector in zip(mixed, vectors(reply), strict=True):
        alone = vectors(await stub.Embed(asked([each])))[0]
        np.testing.assert_allclose(vector, alone, atol=1e-6)


async def test_a_vector_is_the_same_alone_and_under_random_arrival(stub, held_out):
    captions, files = held_out
    inputs = [*texts(*captions[:16]), *images(*files[:16])]
    alone = [vectors(await stub.Embed(asked([each])))[0] for each in inputs]
    chosen = random.Random(5)

    async def call(place):
        await asyncio.sleep(chosen.random() * 0.1)
        company = [place, *chosen.sample(range(32), chosen.randint(0, 6))]
        reply = await stub.Embed(asked([inputs[each] for each in company]))
        return company, vectors(reply), reply.usage.batch_rows

    replies = await asyncio.gather(*(call(place) for place in range(32)))
    assert max(rows for _, _, rows in replies) > 4, "calls have shared engine steps"
    for company, found, _ in replies:
        for place, vector in zip(company, found, strict=True):
            np.testing.assert_allclose(vector, alone[place], atol=1e-6)


async def test_a_stream_gives_the_vectors_of_embed(stub, held_out):
    captions, files = held_out
    inputs = [each for pair in zip(texts(*captions[:20]), images(*files[:20]), strict=True) for each in pair]

    async def requests():
        yield v1.EmbedStreamRequest(model=MODEL, inputs=inputs[:1])
        yield v1.EmbedStreamRequest(inputs=inputs[1:])

    replies = [reply async for reply in stub.EmbedStream(requests())]
    found = {each.index: list(each.values) for reply in replies for each in reply.embeddings}
    whole = vectors(await stub.Embed(asked(inputs)))
    np.testing.assert_allclose([found[place] for place in range(40)], whole, atol=1e-6)


async def test_pictures_are_ranked_by_a_text_and_compared_with_texts(stub, held_out):
    captions, files = held_out
    request = v1.RankRequest(
        model=MODEL, query=texts(captions[3])[0], documents=images(*files[:8]), top_n=2, return_documents=True
    )
    reply = await stub.Rank(request)
    assert reply.documents[0].index == 3
    assert [each.text for each in reply.documents] == ["", ""]
    compared = await stub.Similarity(
        v1.SimilarityRequest(model=MODEL, left=texts(captions[3]), right=images(*files[:8]))
    )
    assert (compared.rows, compared.columns) == (1, 8)
    assert reply.documents[0].score == pytest.approx(max(compared.scores), abs=1e-6)
    other_way = await stub.Rank(
        v1.RankRequest(model=MODEL, query=images(files[3])[0], documents=texts(*captions[:8]))
    )
    assert other_way.documents[0].index == 3


async def test_vectors_may_be_shorter_and_of_their_own_length(stub):
    whole = vectors(await stub.Embed(asked(texts(CAPTIONS[0]), normalize=False)))[0]
    assert abs(np.linalg.norm(whole) - 1) > 0.1
    short = vectors(await stub.Embed(asked(texts(CAPTIONS[0]), dimensions=32)))[0]
    np.testing.assert_allclose(short, whole[:32] / np.linalg.norm(whole[:32]), atol=1e-6)


async def test_ids_stand_for_the_text_they_come_from(channel, stub):
    tokens = await v1.TokenizerServiceStub(channel).Tokenize(
        v1.TokenizeRequest(model=MODEL, texts=[CAPTIONS[0]])
    )
    ids = v1.EmbedInput(ids=TokenIds(ids=tokens.tokenizations[0].ids))
    found = vectors(await stub.Embed(asked([ids, *texts(CAPTIONS[0])])))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


async def test_what_is_too_long_is_refused_or_cut_as_asked(stub):
    long = " ".join(CAPTIONS * 4)
    code, message, field = await refused(stub.Embed(asked(texts("a", long))))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "inputs[1]")
    assert "the model reads 48" in message
    for truncation in (v1.TRUNCATION_END, v1.TRUNCATION_START):
        (made,) = (await stub.Embed(asked(texts(long), truncation=truncation))).embeddings
        assert (made.input_tokens, made.truncated) == (48, True)


BOMB = png(np.zeros((8, 8, 3), np.uint8)).replace(b"\0\0\0\x08\0\0\0\x08", b"\0\0\x4e\x20\0\0\x4e\x20")


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        (images(b""), "inputs[0].image"),
        (images(b"no picture"), "inputs[0].image"),
        (images(png(pictures()[0]), png(pictures()[0])[:-200]), "inputs[1].image"),
        (images(BOMB), "inputs[0].image"),
        (texts(""), "inputs[0].text"),
        ([v1.EmbedInput(ids=TokenIds(ids=[512]))], "inputs[0].ids"),
    ],
)
async def test_a_bad_input_is_named_and_others_are_served(stub, held_out, inputs, field):
    good = stub.Embed(asked(images(held_out[1][0])))
    code, message, violated = await refused(stub.Embed(asked(inputs)))
    assert (code, violated) == (grpc.StatusCode.INVALID_ARGUMENT, field), message
    assert (await good).dimensions == 128


@pytest.mark.parametrize(
    ("request_of", "said"),
    [
        (lambda: asked(texts("a"), pooling=v1.POOLING_CLS), "options.pooling: model 'peeps-clip'"),
        (lambda: asked(texts("a"), precision=v1.PRECISION_INT8), "INT8 is not available"),
        (lambda: v1.EmbedRequest(model="minilm", inputs=images(b"x")), "inputs[0].image: model 'minilm'"),
        (lambda: v1.EmbedRequest(model="words", inputs=images(b"x")), "inputs[0].image: model 'words'"),
    ],
)
async def test_what_a_model_cannot_do_is_refused(stub, request_of, said):
    code, message, _ = await refused(stub.Embed(request_of()))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert said in message


async def test_prompts_and_too_many_dimensions_are_refused(stub):
    for options, field in (
        ({"prompt_name": "query"}, "options.prompt_name"),
        ({"dimensions": 129}, "options.dimensions"),
    ):
        assert (await refused(stub.Embed(asked(images(png(pictures()[0])), **options))))[2] == field


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")
async def test_any_directory_of_a_clip_model_serves(tmp_path):
    folder = directory(tmp_path / "mine")
    store = ModelStore([], tmp_path / "cache", [tmp_path])
    exporter = StoreExporter(tmp_path / "cache", family_graphs(families))
    loader = ModelLoader(store, EncoderOpener(store, exporter, Device("cpu", 1)))
    version = await store.resolve(f"file:{folder}")
    assert (version.manifest.kind, version.manifest.family) == (Kind.TEXT_IMAGE_EMBEDDER, "clip")
    model = loader.load(version, await store.fetch(version))
    assert isinstance(model, TextImageEncoder)
    loader.warm_up(model)
    inputs = [Input("a", TEXTS[0]), Input("b", image=png(pictures()[0])), Input("c", TEXTS[1])]
    rows = model.prepare(inputs, EmbedOptions())
    assert [each.cost for each in rows] == [24, 17, 24]
    assert np.array(model.run(rows, Precision.FP32)).shape == (3, DIMENSIONS)
    size = version.manifest.size_bytes
    assert loader.memory_bytes(version, folder) == int(2.5 * size), "its weights have 32 bits"
    loader.close(model)


async def test_weights_of_16_bits_count_twice(tmp_path):
    store = ModelStore([], tmp_path / "cache", [ROOT / "models"])
    version = await store.resolve(f"file:{ROOT}/models/peeps-clip/2")
    loader = ModelLoader(store, None)
    assert loader.memory_bytes(version, ROOT) == int(5 * version.manifest.size_bytes)
