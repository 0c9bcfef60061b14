"""LitServe with a server that gives back what it gets: gateway_litserve.py PORT."""

from __future__ import annotations

import sys
from typing import Any

import litserve


class Echo(litserve.LitAPI):  # type: ignore[misc]
    """Decodes nothing and computes nothing."""

    def setup(self, device: str) -> None:
        """There is nothing to load."""

    def decode_request(self, request):  # type: ignore[no-untyped-def]  # it would be taken for a schema
        """What is to be given back."""
        return request["text"]

    def predict(self, x: Any) -> Any:
        """The same."""
        return x

    def encode_response(self, output: Any) -> dict[str, Any]:
        """As it came."""
        return {"text": output}


if __name__ == "__main__":
    server = litserve.LitServer(Echo(), accelerator="cpu", workers_per_device=1)
    server.run(
        port=int(sys.argv[1]),
        host="127.0.0.1",
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
