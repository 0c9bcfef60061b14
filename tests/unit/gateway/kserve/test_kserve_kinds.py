"""Every kind of model as tensors: its description, what its service is asked, what comes back."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as Picture

import inference as pb
from gateway.kserve import kinds
from pequod.model.v1 import ModelKind
from pequod.tokenizer import v1 as tokenizer
from services.common import families
from tests.unit.gateway.kserve.kserve_parts import (
    EMBED,
    GENERATE,
    PAINT,
    RANK,
    SAMPLE,
    SIDE,
    UPSCALE,
    arrays,
    in_bytes,
    infer_request,
    texts,
)

Input = pb.ModelInferRequest.InferInputTensor


def raw(name, datatype, values):
    """A request's input, and its elements."""
    return Input(name=name, datatype=datatype, shape=values.shape), values.tobytes()


async def ask(stub, name, *given, **parameters):
    request = infer_request(name, *(each for each, _ in given), **parameters)
    request.raw_input_contents.extend(data for _, data in given)
    return arrays(await stub.ModelInfer(request))


def test_every_file_is_named_as_a_kind():
    known = {name.removeprefix("MODEL_KIND_").lower() for name in map(ModelKind.Name, ModelKind.values())}
    assert set(families.names(kinds)) <= known


@pytest.mark.parametrize(
    ("name", "platform", "required", "outputs"),
    [
        ("sentences", "pequod_bert", {}, {"embedding": ("FP32", [-1, 2])}),
        ("words", "pequod_f", {"text": ("BYTES", [-1])}, {"embedding": ("FP32", [-1, 2])}),
        ("both", "pequod_f", {}, {"embedding": ("FP32", [-1, 2])}),
        (
            "ranker",
            "pequod_f",
            {"query": ("BYTES", [1]), "documents": ("BYTES", [-1])},
            {"score": ("FP32", [-1])},
        ),
        (
            "writer",
            "pequod_llama",
            {"text_input": ("BYTES", [1])},
            {"text_output": ("BYTES", [1]), "finish_reason": ("BYTES", [1])},
        ),
        (
            "counts",
            "pequod_ngram",
            {"text_input": ("BYTES", [1])},
            {"text_output": ("BYTES", [1]), "finish_reason": ("BYTES", [1])},
        ),
        (
            "style",
            "pequod_llama",
            {"text_input": ("BYTES", [1])},
            {"text_output": ("BYTES", [1]), "finish_reason": ("BYTES", [1])},
        ),
        ("painter", "pequod_unet", {"prompt": ("BYTES", [1])}, {"image": ("UINT8", [-1, SIDE, SIDE, 3])}),
        ("pipeline", "pequod_diffusers", {"prompt": ("BYTES", [1])}, {"image": ("UINT8", [-1, -1, -1, 3])}),
        ("look", "pequod_unet", {"prompt": ("BYTES", [1])}, {"image": ("UINT8", [-1, SIDE, SIDE, 3])}),
        ("faces", "pequod_stylegan", {"seed": ("INT64", [-1])}, {"image": ("UINT8", [-1, SIDE, SIDE, 3])}),
        ("plain", "pequod_dcgan", {"seed": ("INT64", [-1])}, {"image": ("UINT8", [-1, -1, -1, 3])}),
        (
            "larger",
            "pequod_upscaler",
            {"image": ("UINT8", [-1, -1, 3])},
            {"larger_image": ("UINT8", [-1, -1, 3])},
        ),
    ],
)
async def test_a_model_is_described_as_it_is(stub, name, platform, required, outputs):
    metadata = await stub.ModelMetadata(pb.ModelMetadataRequest(name=name))
    versions = ["3", "4"] if name == "words" else ["4"]
    assert (metadata.name, list(metadata.versions), metadata.platform) == (name, versions, platform)
    config = (await stub.ModelConfig(pb.ModelConfigRequest(name=name))).config
    assert (config.name, config.platform, config.max_batch_size) == (name, platform, 0)
    assert {each.name for each in config.input} == {each.name for each in metadata.inputs}
    optional = {each.name for each in config.input if each.optional}
    shown = {each.name: (each.datatype, list(each.shape)) for each in metadata.inputs}
    assert {each: shown[each] for each in shown.keys() - optional} == required
    assert {each.name: (each.datatype, list(each.shape)) for each in metadata.outputs} == outputs
    assert config.model_transaction_policy.decoupled == ("text_output" in outputs)


async def test_texts_become_vectors(stub, services):
    reply = arrays(await stub.ModelInfer(infer_request("sentences", texts("text", "a", "b"), dimensions=1)))
    assert reply["embedding"].tolist() == [[0, 0.5], [1, 0.5]]
    asked = services.asked(EMBED)
    assert (asked.model, [each.text for each in asked.inputs]) == ("sentences", ["a", "b"])
    assert asked.options.dimensions == 1
    assert asked.options.truncation == tokenizer.TRUNCATION_REFUSE
    assert not asked.options.HasField("normalize")


async def test_rows_of_ids_end_at_the_first_below_zero(stub, services):
    ids = np.array([[5, 6, 7], [8, -1, 9]], np.int64)
    await ask(stub, "sentences", raw("ids", "INT64", ids), truncate=True, normalize=False)
    asked = services.asked(EMBED)
    assert [list(each.ids.ids) for each in asked.inputs] == [[5, 6, 7], [8]]
    assert asked.options.truncation == tokenizer.TRUNCATION_END
    assert asked.options.normalize is False


async def test_pictures_become_vectors(stub, services):
    pictures = np.arange(2 * SIDE * SIDE * 3, dtype=np.uint8).reshape(2, SIDE, SIDE, 3)
    reply = await ask(stub, "both", raw("image", "UINT8", pictures))
    assert reply["embedding"].shape == (2, 2)
    files = [io.BytesIO(each.image.data) for each in services.asked(EMBED).inputs]
    assert (np.stack([np.asarray(Picture.open(file)) for file in files]) == pictures).all()


async def test_documents_get_scores_in_their_order(stub, services):
    request = infer_request("ranker", texts("query", "q"), texts("documents", "a", "b"), raw_scores=True)
    assert arrays(await stub.ModelInfer(request))["score"].tolist() == [0, 1]
    asked = services.asked(RANK)
    assert (asked.query.text, [each.text for each in asked.documents]) == ("q", ["a", "b"])
    assert asked.raw_scores


async def test_a_prompt_is_continued(stub, services):
    settings = {"max_tokens": 5, "temperature": 0.7, "top_p": 0.9, "top_k": 3, "seed": -1, "stop": "x"}
    reply = await stub.ModelInfer(infer_request("writer", texts("text_input", "hello"), **settings))
    assert arrays(reply) == {"text_output": in_bytes(b" there"), "finish_reason": in_bytes(b"stop")}
    assert reply.parameters["seed"].uint64_param == 2**63
    asked = services.asked(GENERATE)
    assert (asked.model, asked.prompt, asked.adapter) == ("writer", "hello", "")
    assert (asked.stopping.max_tokens, list(asked.stopping.stop)) == (5, ["x"])
    sampling = asked.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.7, 0.9, 3)
    assert sampling.seed == 2**64 - 1
    assert not sampling.HasField("min_p")


async def test_an_ngram_model_takes_an_order(stub, services):
    await stub.ModelInfer(infer_request("counts", texts("text_input", "THE "), order=3))
    assert services.asked(GENERATE).ngram.order == 3


async def test_an_adapter_writes_with_its_base(stub, services):
    reply = await stub.ModelInfer(infer_request("style", texts("text_input", "hello")))
    asked = services.asked(GENERATE)
    assert (asked.model, asked.adapter) == ("writer:4", "style")
    assert reply.model_name == "style"


async def test_a_prompt_becomes_images_in_their_order(stub, services):
    request = infer_request("painter", texts("prompt", "a hat"), n=2, seed=7, steps=3, guidance_scale=2.5)
    reply = await stub.ModelInfer(request)
    images = arrays(reply)["image"]
    assert images.shape == (2, SIDE, SIDE, 3)
    assert images[:, 0, 0, 0].tolist() == [0, 1]
    assert reply.parameters["seed"].int64_param == 7
    asked = services.asked(PAINT)
    assert (asked.prompt, asked.n, asked.seed, asked.steps, asked.guidance_scale) == ("a hat", 2, 7, 3, 2.5)
    assert (asked.width, list(asked.adapters)) == (0, [])


async def test_sizes_are_for_models_without_one_and_adapters_paint(stub, services):
    await stub.ModelInfer(infer_request("pipeline", texts("prompt", ""), width=64, height=32))
    assert (services.asked(PAINT).width, services.asked(PAINT).height) == (64, 32)
    await stub.ModelInfer(infer_request("look", texts("prompt", "")))
    assert services.asked(PAINT).model == "painter:4"
    assert [each.adapter for each in services.asked(PAINT).adapters] == ["look"]


async def test_seeds_become_faces(stub, services):
    seeds = raw("seed", "INT64", np.array([5, -1], np.int64))
    hats = (Input(name="attributes", datatype="BYTES", shape=[1]), in_bytes(b"hat=cap"))
    reply = await ask(stub, "faces", seeds, hats, truncation_psi=0.5, noise_seed=3)
    assert reply["image"][:, 0, 0, 0].tolist() == [5, 255]
    asked = services.asked(SAMPLE)
    assert list(asked.seeds) == [5, 2**64 - 1]
    assert dict(asked.options.attributes) == {"hat": "cap"}
    assert (asked.options.truncation_psi, asked.options.noise_seed) == (0.5, 3)


async def test_a_small_picture_becomes_a_larger_one(stub, services):
    picture = raw("image", "UINT8", np.zeros((2, 3, 3), np.uint8))
    reply = await ask(stub, "larger", picture, factor=2)
    assert reply["larger_image"].shape == (SIDE, SIDE, 3)
    assert services.asked(UPSCALE).factor == 2
    assert Picture.open(io.BytesIO(services.asked(UPSCALE).image.data)).size == (3, 2)
