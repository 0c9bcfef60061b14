"""Services behind a gateway that know some models and answer what a test sets, for the doors of KServe."""

from __future__ import annotations

import asyncio
import contextlib
import io

import numpy as np
from google.protobuf import json_format
from PIL import Image as Picture

import inference as pb
from gateway.models import GET_MODEL, LIST_MODELS
from pequod.common.v1 import Image, Usage
from pequod.diffusion import v1 as diffusion
from pequod.gan import v1 as gan
from pequod.model import v1 as models
from pequod.sampler import v1 as sampler
from pequod.tokenizer import v1 as tokenizer
from services.common.errors import model_not_found
from services.common.rpc import status
from tests.unit.gateway.fakes import FakeBackend, backends, gateway

GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
GENERATE_STREAM = "/pequod.sampler.v1.SamplerService/GenerateStream"
EMBED = "/pequod.tokenizer.v1.EmbeddingService/Embed"
RANK = "/pequod.tokenizer.v1.EmbeddingService/Rank"
SAMPLE = "/pequod.gan.v1.GanService/Sample"
PAINT = "/pequod.diffusion.v1.DiffusionService/Generate"
UPSCALE = "/pequod.diffusion.v1.DiffusionService/Upscale"
LOAD, UNLOAD = (f"/pequod.model.v1.ModelService/{name}Model" for name in ("Load", "Unload"))

USAGE = Usage(queue_ms=2, compute_ms=3, model="m", version="4")
SIDE = 4


def model(name, kind, family="f", state="READY", config=None, **fields):
    made = models.Model(
        name=name,
        **{"version": "4", **fields},
        kind=models.ModelKind.Value(f"MODEL_KIND_{kind}"),
        family=family,
        state=models.ModelState.Value(f"MODEL_STATE_{state}"),
    )
    json_format.ParseDict(config or {}, made.config)
    return made


KNOWN = {
    "tokenizer": (
        model("sentences", "TEXT_EMBEDDER", "bert", config={"hidden_size": 2}),
        model("words", "WORD_VECTORS", config={"dimensions": 2}),
        model("words", "WORD_VECTORS", version="3", config={"dimensions": 2}),
        model("both", "TEXT_IMAGE_EMBEDDER", config={"projection_dim": 2}),
        model("ranker", "RERANKER"),
        model("codes", "ENCODING"),
    ),
    "sampler": (
        model("writer", "LANGUAGE_MODEL", "llama"),
        model("counts", "NGRAM", "ngram", "AVAILABLE"),
        model("style", "ADAPTER", parent="writer:4"),
    ),
    "diffusion": (
        model("painter", "DIFFUSION", "unet", config={"unet": {"size": SIDE}}),
        model("pipeline", "DIFFUSION", "diffusers", "FAILED", error="no weights"),
        model("look", "ADAPTER", parent="painter:4"),
        model("larger", "UPSCALER", "upscaler"),
    ),
    "gan": (
        model(
            "faces", "GAN", "stylegan", config={"stylegan": {"size": SIDE}, "attributes": [["hat", "cap"]]}
        ),
        model("plain", "GAN", "dcgan"),
    ),
}


def png(shade):
    file = io.BytesIO()
    Picture.fromarray(np.full((SIDE, SIDE, 3), shade, np.uint8)).save(file, "PNG")
    return Image(data=file.getvalue(), width=SIDE, height=SIDE)


async def refuse(context, error):
    rich = status.to_status(error)
    await context.abort(status.grpc_code(rich.code), rich.message, status.trailing(rich))


class Services:
    """Keeps what it was asked, by method; ``failures`` come in place of an answer, to ``held`` comes none."""

    def __init__(self):
        self.seen = {}
        self.metadata = {}
        self.failures = {}
        self.held = set()
        self.pieces = [
            sampler.GenerateStreamResponse(text=" th", seed=7),
            sampler.GenerateStreamResponse(seed=0),
            sampler.GenerateStreamResponse(
                text="ere", finish_reason=sampler.FINISH_REASON_LENGTH, usage=USAGE
            ),
        ]
        self.answers = {
            GENERATE: (sampler.GenerateRequest, self._written),
            EMBED: (tokenizer.EmbedRequest, self._embedded),
            RANK: (tokenizer.RankRequest, self._ranked),
            SAMPLE: (gan.SampleRequest, self._sampled),
            UPSCALE: (
                diffusion.UpscaleRequest,
                lambda _: diffusion.UpscaleResponse(image=png(9), usage=USAGE),
            ),
            LOAD: (models.LoadModelRequest, lambda _: models.LoadModelResponse()),
            UNLOAD: (models.UnloadModelRequest, lambda _: models.UnloadModelResponse()),
        }

    def asked(self, path):
        """The last request of a method."""
        return self.seen[path][-1]

    def backend(self, known):
        """A backend that has the models ``known``."""
        behaviours = {path: self._unary(path, *answer) for path, answer in self.answers.items()}
        behaviours |= {GENERATE_STREAM: self._stream, PAINT: self._paint}
        return FakeBackend(**behaviours, **{GET_MODEL: self._get(known), LIST_MODELS: _lists(known)})

    def _get(self, known):
        async def get(request, context):
            self._keep(GET_MODEL, models.GetModelRequest, request, context)
            reference = models.GetModelRequest.FromString(request).model
            for each in known:
                if reference in {each.name, f"{each.name}:{each.version}"}:
                    return models.GetModelResponse(model=each).SerializeToString()
            await refuse(context, model_not_found(reference, [each.name for each in known]))

        return get

    def _unary(self, path, request_type, answer):
        async def behaviour(request, context):
            asked = self._keep(path, request_type, request, context)
            if path in self.failures:
                await refuse(context, self.failures[path])
            if path in self.held:
                await asyncio.Event().wait()
            return answer(asked).SerializeToString()

        return behaviour

    def _keep(self, path, request_type, request, context):
        asked = request_type.FromString(request)
        self.seen.setdefault(path, []).append(asked)
        self.metadata[path] = dict(context.invocation_metadata())
        return asked

    async def _stream(self, request, context):
        self._keep(GENERATE_STREAM, sampler.GenerateStreamRequest, request, context)
        for piece in self.pieces:
            await context.write(piece.SerializeToString())
        if GENERATE_STREAM in self.failures:
            await refuse(context, self.failures[GENERATE_STREAM])

    async def _paint(self, request, context):
        asked = self._keep(PAINT, diffusion.GenerateRequest, request, context)
        for place in reversed(range(asked.n or 1)):
            image = diffusion.GeneratedImage(index=place, image=png(place), seed=7 + place)
            await context.write(diffusion.GenerateResponse(image=image).SerializeToString())
        done = diffusion.GenerateResponse(done=diffusion.Done(), usage=USAGE)
        await context.write(done.SerializeToString())

    def _written(self, _):
        completion = sampler.Completion(text=" there", finish_reason=sampler.FINISH_REASON_STOP)
        return sampler.GenerateResponse(completions=[completion], seed=2**63, usage=USAGE)

    def _embedded(self, request):
        made = [
            tokenizer.Embedding(index=place, data=np.array([place, 0.5], "<f4").tobytes())
            for place in range(len(request.inputs))
        ]
        return tokenizer.EmbedResponse(embeddings=made, dimensions=2, usage=USAGE)

    def _ranked(self, request):
        made = [tokenizer.RankedDocument(index=place, score=place) for place in (1, 0)]
        return tokenizer.RankResponse(documents=made, usage=USAGE)

    def _sampled(self, request):
        images = [gan.GeneratedImage(image=png(seed % 256), seed=seed) for seed in request.seeds]
        return gan.SampleResponse(images=images, usage=USAGE)


def _lists(known):
    async def lists(request, context):
        return models.ListModelsResponse(models=known).SerializeToString()

    return lists


@contextlib.asynccontextmanager
async def door_of(services, **settings):
    """A gateway in front of ``services``; ``settings`` by name."""
    fakes = {name: services.backend(known) for name, known in KNOWN.items()}
    behind = {name: [fake] for name, fake in fakes.items()}
    async with backends(*fakes.values()), gateway(settings=settings, **behind) as door:
        yield door


def texts(name, *values):
    contents = pb.InferTensorContents(bytes_contents=[value.encode() for value in values])
    return pb.ModelInferRequest.InferInputTensor(
        name=name, datatype="BYTES", shape=[len(values)], contents=contents
    )


def infer_request(name, *inputs, outputs=(), **parameters):
    request = pb.ModelInferRequest(model_name=name, id="7", inputs=inputs)
    for output in outputs:
        request.outputs.add(name=output)
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    for key, value in parameters.items():
        setattr(request.parameters[key], fields[type(value)], value)
    return request


def arrays(reply):
    """Outputs of a reply by name."""
    kinds = {"FP32": "<f4", "UINT8": "u1"}
    return {
        each.name: np.frombuffer(raw, kinds[each.datatype]).reshape(each.shape)
        if each.datatype in kinds
        else raw
        for each, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
    }


def in_bytes(*values):
    """A BYTES tensor as it travels."""
    return b"".join(len(value).to_bytes(4, "little") + value for value in values)


async def post(door, path, body, **headers):
    """Status and JSON of a reply; ``_`` in headers' names for ``-``."""
    reply = await door.http.post(
        path, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()}
    )
    return reply.status_code, reply.json()


async def conversation(stub, *requests, metadata=()):
    """Every reply of a stream."""
    call = stub.ModelStreamInfer(iter(requests), metadata=metadata)
    return [reply async for reply in call]
