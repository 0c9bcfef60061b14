"""Load over HTTP/1.1 that costs little itself and checks every status and JSON body."""

from __future__ import annotations

import asyncio
import json
import time


async def post(
    port: int, path: str, body: bytes, callers: int, seconds: float
) -> tuple[int, float, list[float]]:
    """``callers`` kept connections; returns how many answers, the seconds, and each answer's seconds."""
    kind = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\n{kind}"
    sent = head.encode() + body
    wanted = json.loads(body)
    taken: list[float] = []
    began = time.perf_counter()

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < began + seconds:
            writer.write(sent)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise AssertionError(answer[:100].decode(errors="replace"))
            length = int(answer.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            if json.loads(await reader.readexactly(length)) != wanted:
                raise AssertionError("a reply is not the request")
            taken.append(time.perf_counter() - start)
        writer.close()

    await asyncio.gather(*[caller() for _ in range(callers)])
    return len(taken), time.perf_counter() - began, taken
