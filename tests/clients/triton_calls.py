"""Calls as Triton's own client makes them; run by the environment of ``tritonclient.txt``.

``python triton_calls.py GRPC HTTP`` prints one JSON object with what came back.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sys

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from tritonclient.utils import InferenceServerException

TEXTS = ("a whale", "a ship at sea")
PROMPT = "The old captain"
SETTINGS = {"max_tokens": 12, "seed": 7, "temperature": 0.7}
SEEDS = (7, 8)


def texts(module, name, *values, **options):
    made = module.InferInput(name, [len(values)], "BYTES")
    made.set_data_from_numpy(np.array([value.encode() for value in values], object), **options)
    return made


def numbers(module, name, datatype, values, **options):
    made = module.InferInput(name, list(values.shape), datatype)
    made.set_data_from_numpy(values, **options)
    return made


def text_of(result):
    return result.as_numpy("text_output")[0].decode()


def about(client):
    """What a server and its models say of themselves."""
    models = ("minilm", "storyteller", "peeps-gan", "peeps-diffusion", "words")
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": [client.is_model_ready(name) for name in ("minilm", "storyteller", "nobody")],
        "metadata": bool(client.get_server_metadata()),
        "models": [bool(client.get_model_metadata(name)) for name in models],
        "configs": [bool(client.get_model_config(name)) for name in models],
    }


def inferences(client, module, **options):
    """A run of each kind of model."""
    seeds = numbers(module, "seed", "INT64", np.array(SEEDS, np.int64), **options)
    blue = texts(module, "attributes", "background=blue", **options)
    temperature = numbers(module, "temperature", "FP32", np.array([0.7], np.float32), **options)
    most = numbers(module, "max_tokens", "INT32", np.array([12], np.int32), **options)
    seed = numbers(module, "seed", "INT64", np.array([7], np.int64), **options)
    prompt = texts(module, "text_input", PROMPT, **options)
    asked = client.infer("minilm", [texts(module, "text", *TEXTS, **options)], request_id="7")
    painted = client.infer(
        "peeps-diffusion",
        [texts(module, "prompt", "a person", **options)],
        parameters={"steps": 2, "seed": 3},
    )
    return {
        "vectors": asked.as_numpy("embedding").tolist(),
        "words": client.infer("words", [texts(module, "text", "whale", **options)])
        .as_numpy("embedding")
        .shape,
        "by_parameters": text_of(client.infer("storyteller", [prompt], parameters=SETTINGS)),
        "by_inputs": text_of(client.infer("storyteller", [prompt, temperature, most, seed])),
        "faces": client.infer("peeps-gan", [seeds, blue]).as_numpy("image").tolist(),
        "painted": painted.as_numpy("image").shape,
    }


def refusals(client, module):
    """What a wrong request is told."""
    told = []
    for name, given in (
        ("minilm", texts(module, "txt", "a")),
        ("nobody", texts(module, "text", "a")),
        ("minilm", numbers(module, "text", "FP32", np.zeros(1, np.float32))),
    ):
        try:
            client.infer(name, [given])
        except InferenceServerException as error:
            told.append([error.status(), error.message()])
    return told


def streamed(client):
    """Pieces of a text, a whole text, and an error, on one stream."""
    replies = queue.Queue()
    client.start_stream(lambda result, error: replies.put((result, error)))
    prompt = texts(over_grpc, "text_input", PROMPT)
    client.async_stream_infer("storyteller", [prompt], request_id="pieces", parameters=SETTINGS)
    pieces = []
    last = False
    while not last:
        result, error = replies.get(timeout=60)
        assert error is None, error
        pieces.append(text_of(result))
        last = result.get_response().parameters["triton_final_response"].bool_param
    whole = {**SETTINGS, "stream": False}
    client.async_stream_infer("storyteller", [prompt], request_id="whole", parameters=whole)
    result, _ = replies.get(timeout=60)
    client.async_stream_infer("nobody", [prompt])
    _, error = replies.get(timeout=60)
    client.stop_stream()
    return {"pieces": pieces, "whole": text_of(result), "error": error.message()}


async def at_the_same_time(address, client_of, module):
    """Eight inferences of an aio client."""
    async with client_of(address) as client:
        asked = [client.infer("minilm", [texts(module, "text", text)]) for text in TEXTS * 4]
        results = await asyncio.gather(*asked)
    return [result.as_numpy("embedding")[0].tolist() for result in results]


def repository(client):
    """A model that leaves and comes back."""
    client.unload_model("peeps-upscaler")
    ready = [client.is_model_ready("peeps-upscaler")]
    client.load_model("peeps-upscaler")
    return [*ready, client.is_model_ready("peeps-upscaler")]


def counted(client):
    """Successes and rows of MiniLM, as the server counts them."""
    stats = client.get_inference_statistics("minilm").model_stats[0]
    return [stats.inference_stats.success.count, stats.inference_count]


def main(grpc_address, http_address):
    grpc_client = over_grpc.InferenceServerClient(grpc_address)
    http_client = over_http.InferenceServerClient(http_address)
    before = counted(grpc_client)
    one = {
        "about": about(grpc_client),
        **inferences(grpc_client, over_grpc),
        "refusals": refusals(grpc_client, over_grpc),
    }
    after = counted(grpc_client)
    found = {
        "grpc": one,
        "counted": [after[place] - before[place] for place in range(2)],
        "http": {
            "about": about(http_client),
            **inferences(http_client, over_http),
            "refusals": refusals(http_client, over_http),
        },
        "http_json": inferences(http_client, over_http, binary_data=False),
        "stream": streamed(grpc_client),
        "grpc_aio": asyncio.run(
            at_the_same_time(grpc_address, over_grpc_aio.InferenceServerClient, over_grpc_aio)
        ),
        "http_aio": asyncio.run(
            at_the_same_time(http_address, over_http_aio.InferenceServerClient, over_http_aio)
        ),
        "index": [each["name"] for each in http_client.get_model_repository_index()],
        "repository": [repository(grpc_client), repository(http_client)],
    }
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
