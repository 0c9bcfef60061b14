"""Mosec with one worker that gives back what it gets: gateway_mosec.py --port PORT."""

from __future__ import annotations

from typing import Any

from mosec import Server, Worker


class Echo(Worker):  # type: ignore[misc]
    """Computes nothing."""

    def forward(self, data: Any) -> Any:
        """The same."""
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Echo, num=1)
    server.run()
