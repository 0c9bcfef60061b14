"""Text-image embedders: the vectors of transformers, of any directory of a CLIPModel, in any company."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from services.common.export import Target, export_graphs
from services.common.runtimes import open_runtime
from services.common.text_image.embedder import Sizes, open_embedder, open_tokenizer
from services.common.text_image.graphs import clip_graphs
from services.common.text_image.preprocessing import read_preprocessing
from tests.unit.clip_models import DIMENSIONS, SIDE, TEXTS, TOKENS, directory, pictures, tokenizer

# transformers and torch announce changes to come; nothing here depends on them.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def opened(folder, exported):
    """The embedder and the tokenizer of ``folder``."""
    config = json.loads((folder / "config.json").read_text())
    export_graphs(clip_graphs(folder), exported, Target.ONNX)
    embedder = open_embedder(
        config, folder, exported, lambda file: open_runtime(file, threads=1, providers=("cpu",))
    )
    return embedder, open_tokenizer(folder, embedder.sizes)


def ids_of(cut, texts):
    return [cut.encode(text).ids for text in texts]


@pytest.fixture(scope="module", params=[False, True], ids=["end", "highest"])
def clip(request, tmp_path_factory):
    """(folder, embedder, tokenizer) of a model that pools at its end token, or at the highest id."""
    root = tmp_path_factory.mktemp("clip")
    folder = directory(root / "model", legacy=request.param)
    yield folder, *(both := opened(folder, root / "exported"))
    both[0].close()


def test_texts_get_the_vectors_of_transformers(clip):
    folder, embedder, cut = clip
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<|endoftext|>"
    )
    inputs = fast(TEXTS, padding=True, truncation=True, max_length=TOKENS, return_tensors="pt")
    model = transformers.CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        expected = model.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
    found = embedder.texts(ids_of(cut, TEXTS))
    assert found.shape == (len(TEXTS), DIMENSIONS)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert not np.allclose(found[0], found[1], atol=1e-2)


def test_pictures_get_the_vectors_of_transformers(clip):
    folder, embedder, _ = clip
    seen = CLIPImageProcessorPil.from_pretrained(folder)(
        [Image.fromarray(each) for each in pictures()], return_tensors="pt"
    )
    model = transformers.CLIPModel.from_pretrained(folder)
    with torch.no_grad():
        expected = model.get_image_features(seen["pixel_values"]).pooler_output
    found = embedder.pictures([embedder.preprocessing.fit(each) for each in pictures()])
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
    assert not np.allclose(found[0], found[1], atol=1e-2)


def test_a_row_is_the_same_alone_and_in_any_company(clip):
    _, embedder, cut = clip
    rows, fitted = ids_of(cut, TEXTS), [embedder.preprocessing.fit(each) for each in pictures()]
    for run, inputs in ((embedder.texts, rows), (embedder.pictures, fitted)):
        together = run(inputs * 5)
        for each, vector in zip(inputs, together, strict=False):
            np.testing.assert_allclose(run([each])[0], vector, atol=1e-6)


def test_a_text_too_long_loses_its_end_and_spelt_special_tokens_are_text(clip):
    _, _, cut = clip
    (long, spelt) = ids_of(cut, ["the whale " * 50, "a <|endoftext|> b"])
    assert len(long) == TOKENS
    assert long[-1] == tokenizer().token_to_id("<|endoftext|>")
    assert spelt.count(long[-1]) == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False},
        {"size": SIDE, "crop_size": SIDE},
        {"size": {"shortest_edge": 40}, "crop_size": {"height": SIDE, "width": SIDE}, "resample": 2},
        {"size": {"shortest_edge": 25}, "crop_size": {"height": SIDE, "width": SIDE}},
        {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "image_mean": [0.5, 0.4, 0.3]},
        {"size": {"height": SIDE, "width": SIDE}, "do_center_crop": False, "do_normalize": False},
        {"size": SIDE, "crop_size": SIDE, "do_rescale": False},
    ],
    ids=str,
)
def test_pictures_are_prepared_as_transformers_does(settings, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    theirs = CLIPImageProcessorPil(**settings)
    ours = read_preprocessing(tmp_path, SIDE)
    images = pictures()
    expected = np.stack([theirs(Image.fromarray(each))["pixel_values"][0] for each in images])
    found = ours.values([ours.fit(each) for each in images])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_settings_may_stand_with_those_of_a_processor(tmp_path):
    inner = {"image_processor_type": "CLIPImageProcessor", "size": SIDE, "crop_size": SIDE}
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": inner}))
    assert read_preprocessing(tmp_path, SIDE).shortest == SIDE


def test_a_very_long_picture_costs_no_memory(tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": 224, "crop_size": 224}))
    ours = read_preprocessing(tmp_path, 224)
    line = np.full((1, 8000, 3), 77, np.uint8)  # a thousand million values, were it resized first
    assert (ours.fit(line) == np.full((224, 224, 3), 77)).all()
    assert (ours.fit(line.transpose(1, 0, 2)) == 77).all()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"size": 64, "crop_size": 64}, "its tower sees 32 x 32"),
        ({"size": {"longest_edge": 32}}, "is not known"),
        ({"size": {"shortest_edge": 32}, "do_center_crop": False}, "is not known"),
        ({"do_resize": False}, "it resizes none"),
        ({"image_processor_type": "BlipImageProcessor"}, "BlipImageProcessor"),
        ({"size": 32, "crop_size": 32, "image_mean": [0.5]}, "three colours"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings, said, tmp_path):
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match=said):
        read_preprocessing(tmp_path, SIDE)


def test_a_directory_without_settings_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"there is no preprocessor_config\.json"):
        read_preprocessing(tmp_path, SIDE)


def test_a_tokenizer_without_an_end_is_refused_where_the_model_pools_there(clip, tmp_path):
    folder, embedder, _ = clip
    file = tmp_path / "tokenizer.json"
    described = json.loads((folder / "tokenizer.json").read_text())
    file.write_text(json.dumps(described | {"post_processor": None}))
    if embedder.sizes.end == 2:
        open_tokenizer(tmp_path, embedder.sizes)
    else:
        with pytest.raises(ValueError, match="no end token"):
            open_tokenizer(tmp_path, embedder.sizes)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    shutil.copy(directory(tmp_path / "model") / "tokenizer.json", tmp_path)
    sizes = Sizes(dimensions=4, tokens=8, vocabulary=100, end=2, side=32, patches=5)
    with pytest.raises(ValueError, match="only 100 rows"):
        open_tokenizer(tmp_path, sizes)


def test_sizes_left_out_are_openai_s():
    assert Sizes.of({}) == Sizes(512, 77, 49408, 49407, 224, 50)
    twice = {"text_config": {"vocab_size": 7}, "text_config_dict": {"vocab_size": 8}}
    assert Sizes.of(twice).vocabulary == 8


def test_a_checkpoint_with_weights_missing_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = directory(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueError, match="visual_projection"):
        clip_graphs(folder)
