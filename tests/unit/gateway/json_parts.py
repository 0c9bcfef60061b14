"""What tests of the JSON door share: a sampler that echoes, and what a reply says."""

from pequod.sampler.v1 import Completion, GenerateRequest, GenerateResponse, GenerateStreamResponse
from tests.unit.gateway.fakes import GENERATE


async def answer(request, context):
    """Generate: the prompt as the completion."""
    prompt = GenerateRequest.FromString(request).prompt
    return GenerateResponse(completions=[Completion(text=prompt)], seed=2**63).SerializeToString()


async def spell(request, context):
    """GenerateStream: the prompt, a letter a message."""
    for letter in GenerateRequest.FromString(request).prompt:
        await context.write(GenerateStreamResponse(text=letter).SerializeToString())


def reason(reply):
    return reply.json()["error"]["details"][0]["reason"]


def violated(reply):
    return reply.json()["error"]["details"][1]["fieldViolations"][0]["field"]


async def works(door):
    reply = await door.http.post(GENERATE, json={"prompt": "next"})
    return reply.status_code == 200 and reply.json()["completions"][0]["text"] == "next"
