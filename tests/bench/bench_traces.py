"""CPU time that spans add to a call through the gateway: without a collector, not kept, kept and sent.

    python -m tests.bench.bench_traces

A call here is its two spans in the gateway and the metadata that goes onward; sending counts, and so does
the collector, which is in this process.
"""

from __future__ import annotations

import asyncio
import statistics
import time

from gateway.middleware.traced import Traced
from services.common.tracing import rpc
from services.common.tracing.context import onward
from services.common.tracing.starting import tracing
from tests.unit.common.collector import Collector

PATH = "/pequod.sampler.v1.SamplerService/Generate"
METADATA = (("x-request-id", "a" * 32), ("traceparent", f"00-{'a' * 32}-{'b' * 16}-01"))
CALLS, ROUNDS = 3000, 5


class Method:
    """Of the call."""

    path = PATH


class Call:
    """As much of a call as a span asks for."""

    method, metadata, request_id, deadline = Method, METADATA, "a" * 32, float("inf")


async def through(call: Call) -> None:
    """What a call meets of tracing."""

    async def attempt(call: Call) -> None:
        with rpc.called(PATH, "127.0.0.1:50062", 1) as span:
            onward(call.metadata)
            rpc.got(span, "OK")

    await Traced().handle(call, attempt)


async def past(call: Call) -> None:
    """The same two functions without."""

    async def attempt(call: Call) -> None:
        pass

    await attempt(call)


async def microseconds(function) -> float:
    """Of the CPU, a call."""
    began = time.process_time()
    for _ in range(CALLS):
        await function(Call())
        await asyncio.sleep(0)
    return (time.process_time() - began) / CALLS * 1e6


def added(variables: dict[str, str]) -> float:
    """Median of the rounds."""
    with tracing("bench", variables):
        rounds = [asyncio.run(microseconds(through)) - asyncio.run(microseconds(past)) for _ in range(ROUNDS)]
    return statistics.median(rounds)


def main() -> None:
    """Print the three figures."""
    with Collector() as collector:
        to = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
        for what, variables in (
            ("without a collector", {}),
            ("not kept", {**to, "OTEL_TRACES_SAMPLER": "always_off"}),
            ("kept and sent", to),
        ):
            print(f"{what:20} {added(variables):7.1f} µs of the CPU a call")  # noqa: T201


if __name__ == "__main__":
    main()
