"""What the tests of the door under /v1 have in common."""

from pequod.common.v1 import Usage
from pequod.sampler import v1
from services.common.rpc import status

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
USAGE = Usage(input_tokens=3, output_tokens=2, cached_tokens=1, model="m", version="4")
COUNTED = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "total_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 1},
}


class Sampler:
    """Answers with what a test sets, and keeps what it was asked."""

    def __init__(self):
        self.seen = []
        self.reply = v1.GenerateResponse(
            completions=[v1.Completion(text=" there", finish_reason=v1.FINISH_REASON_STOP)],
            seed=7,
            usage=USAGE,
        )
        self.pieces = [
            v1.GenerateStreamResponse(text=" th", seed=7),
            v1.GenerateStreamResponse(text="ere", finish_reason=v1.FINISH_REASON_LENGTH, usage=USAGE),
        ]

    async def generate(self, request, context):
        self.seen.append(v1.GenerateRequest.FromString(request))
        return self.reply.SerializeToString()

    async def stream(self, request, context):
        self.seen.append(v1.GenerateStreamRequest.FromString(request))
        for piece in self.pieces:
            await context.write(piece.SerializeToString())


def failing(error):
    async def behaviour(request, context):
        rich = status.to_status(error)
        await context.abort(status.grpc_code(rich.code), rich.message, status.trailing(rich))

    return behaviour


async def events(door, path, body):
    """The data of each event."""
    async with door.http.stream("POST", path, json={**body, "stream": True}) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        lines = [line async for line in reply.aiter_lines() if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] for line in lines]


async def error_of(door, path, body):
    reply = await door.http.post(path, json=body)
    error = reply.json()["error"]
    return reply.status_code, error["type"], error["param"], error["code"], error["message"]
