"""Calls as KServe's own clients make them; run by the environment of ``kserve.txt``.

``python kserve_calls.py GRPC HTTP`` prints one JSON object with what came back.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXTS = (b"a whale", b"a ship at sea")


def texts(name, *values, binary_data=False):
    made = InferInput(name, [len(values)], "BYTES")
    made.set_data_from_numpy(np.array(values, object), binary_data=binary_data)
    return made


def whole(name, datatype, *values, binary_data=False):
    made = InferInput(name, [len(values)], datatype)
    kind = {"INT64": np.int64, "INT32": np.int32}[datatype]
    made.set_data_from_numpy(np.array(values, kind), binary_data=binary_data)
    return made


async def inferences(infer, **options):
    """Vectors, a text, faces."""
    vectors = await infer(InferRequest("minilm", [texts("text", *TEXTS, **options)], request_id="7"))
    prompt = [texts("text_input", b"The old captain", **options), whole("seed", "INT64", 7, **options)]
    text = await infer(InferRequest("storyteller", prompt, parameters={"max_tokens": 12}))
    faces = await infer(InferRequest("peeps-gan", [whole("seed", "INT64", 7, 8, **options)]))
    return {
        "id": vectors.id,
        "vectors": vectors.outputs[0].as_numpy().tolist(),
        "text": _text(text.outputs[0].as_numpy().reshape(-1)[0]),
        "faces": faces.outputs[0].as_numpy().tolist(),
    }


def _text(element):
    return element.decode() if isinstance(element, bytes) else element


async def refusal(infer):
    try:
        await infer(InferRequest("minilm", [texts("txt", b"a")]))
    except Exception as error:
        return str(error)
    return ""


async def over_grpc(address):
    client = InferenceGRPCClient(address)
    try:
        return {
            "live": await client.is_server_live(),
            "ready": await client.is_server_ready(),
            "model_ready": [await client.is_model_ready(name) for name in ("minilm", "nobody")],
            "typed": await inferences(client.infer),
            "raw": await inferences(client.infer, binary_data=True),
            "refusal": await refusal(client.infer),
        }
    finally:
        await client.close()


async def over_http(address):
    url = f"http://{address}"
    client = InferenceRESTClient(RESTConfig(protocol="v2"))

    async def infer(request):
        return await client.infer(url, request, model_name=request.model_name)

    try:
        return {
            "live": await client.is_server_live(url),
            "ready": await client.is_server_ready(url),
            "model_ready": [await client.is_model_ready(url, name) for name in ("minilm", "nobody")],
            "json": await inferences(infer),
            "binary": await inferences(infer, binary_data=True),
            "refusal": await refusal(infer),
        }
    finally:
        await client.close()


async def main(grpc_address, http_address):
    found = {"grpc": await over_grpc(grpc_address), "http": await over_http(http_address)}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
