"""A story as it is written, two vectors, and a picture: ``python story.py [HOST:PORT [KEY]]``.

Needs pequod-client only (``make client`` puts its wheel into ``dist/``).
"""

from __future__ import annotations

import sys
from pathlib import Path

from pequod.diffusion.v1 import GenerateRequest
from pequod_client import Client, PequodError, Stream


def main(target: str = "127.0.0.1:50051", key: str | None = None) -> None:
    """Three calls over one connection; what the platform refuses ends the program in a sentence."""
    with Client(target, api_key=key) as client:
        with client.stream_text("The old captain", seed=7, max_tokens=40) as pieces:
            for piece in pieces:
                print(piece, end="", flush=True)
        print()

        whale, ship = client.embed(["a whale", "a ship"])
        print(f"a whale and a ship, cosine {sum(a * b for a, b in zip(whale, ship, strict=True)):.3f}")

        request = GenerateRequest(prompt="a smiling person with red hair", seed=4, upscale_factor=4)
        with Stream(client.diffusion.Generate(request), lambda event: [event]) as events:
            for event in events:
                if event.HasField("step"):
                    print(f"\rstep {event.step.step} of {event.step.steps}", end="", flush=True)
                elif event.HasField("image"):
                    Path("person.png").write_bytes(event.image.image.data)
        print("\nperson.png")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except PequodError as error:
        sys.exit(f"{error.reason}: {error}")
