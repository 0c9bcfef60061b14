"""What the gateway costs: calls through it beside the same calls to a bare grpc.aio echo server.

Run from the repository root: ``python -m tests.bench.bench_gateway`` (``make bench-gateway``).

The *subject* of a measurement is the bare server, the gateway in front of another such server, or in the
gateway's place the *least* proxy that grpc.aio allows: handlers of one line, without metadata, limits or
choice, the floor of what any gateway on grpc.aio costs. Each is a process of its own. By default the
subject has one core for itself, and this process (the load) and the backend share the others: so a ratio
says what one core does in either part, whatever the machine. ``--unpinned`` leaves the placing to the
kernel; on two cores load, subject and backend then take each other's time. Rounds are interleaved, medians
are shown. A round in which other programs took more than 15 % of a core is dropped and run again, while
there is time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import psutil
import uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
GENERATE_STREAM = "/pequod.sampler.v1.SamplerService/GenerateStream"
PAYLOAD = bytes(range(200))
STREAMS = 16
MESSAGES = 500
FOREIGN_SHARE = 0.15


@dataclass(frozen=True)
class Subject:
    """A server under measurement."""

    name: str
    port: int
    process: psutil.Process


@dataclass(frozen=True)
class Round:
    """One measurement: calls or messages a second, milliseconds, CPU microseconds of the subject each."""

    rate: float
    p50: float
    p99: float
    cpu: float


async def unary(port: int, callers: int, seconds: float) -> tuple[int, float, list[float]]:
    """``callers`` loops of calls; returns how many there were, the seconds, and each call's seconds."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(GENERATE)
        await stub(PAYLOAD)
        taken: list[float] = []
        began = time.perf_counter()

        async def caller() -> None:
            while (start := time.perf_counter()) < began + seconds:
                call = stub(PAYLOAD, timeout=30)
                if await call != PAYLOAD or await call.code() is not grpc.StatusCode.OK:
                    raise AssertionError("a reply is not the request")
                taken.append(time.perf_counter() - start)

        await asyncio.gather(*[caller() for _ in range(callers)])
        return len(taken), time.perf_counter() - began, taken


async def streams(port: int, _callers: int, _seconds: float) -> tuple[int, float, list[float]]:
    """STREAMS streams of MESSAGES messages each; times between messages are not taken."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_stream(GENERATE_STREAM)

        async def reader() -> int:
            call = stub(PAYLOAD, timeout=60)
            count = 0
            async for message in call:
                count += message == PAYLOAD
            if count != MESSAGES or await call.code() is not grpc.StatusCode.OK:
                raise AssertionError(f"{count} good messages of {MESSAGES}")
            return count

        began = time.perf_counter()
        counts = await asyncio.gather(*[reader() for _ in range(STREAMS)])
        return sum(counts), time.perf_counter() - began, [0.0]


Load = Callable[[int, int, float], Coroutine[Any, Any, tuple[int, float, list[float]]]]
CASES: tuple[tuple[str, Load, int], ...] = (
    ("1 caller", unary, 1),
    ("16 callers", unary, 16),
    ("64 callers", unary, 64),
    (f"{STREAMS} streams", streams, STREAMS),
)


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time of a process so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def busy_seconds() -> float:
    """Time that all cores together have been busy."""
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)


async def measure(
    load: Load, callers: int, seconds: float, subject: Subject, ours: list[psutil.Process]
) -> Round | None:
    """One round; None when other programs took too much of the machine meanwhile."""
    before = busy_seconds() - sum(map(cpu_seconds, ours))
    began, cpu = time.perf_counter(), cpu_seconds(subject.process)
    count, took, times = await load(subject.port, callers, seconds)
    cpu = cpu_seconds(subject.process) - cpu
    foreign = busy_seconds() - sum(map(cpu_seconds, ours)) - before
    if foreign > FOREIGN_SHARE * (time.perf_counter() - began):
        return None
    times.sort()
    p50, p99 = times[len(times) // 2], times[int(len(times) * 0.99)]
    return Round(count / took, 1e3 * p50, 1e3 * p99, 1e6 * cpu / count)


async def serve_echo() -> None:
    """The bare server: answers a call with its request, a stream with MESSAGES times its request."""

    async def echo(request: bytes, _context: Any) -> bytes:
        return request

    async def repeat(request: bytes, context: Any) -> None:
        for _ in range(MESSAGES):
            await context.write(request)

    await _serve(echo, repeat)


async def serve_proxy(port: int) -> None:
    """The least proxy: what a call costs before it has a deadline, metadata or a choice of backends."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    single, several = channel.unary_unary(GENERATE), channel.unary_stream(GENERATE_STREAM)

    async def call(request: bytes, _context: Any) -> Any:
        return await single(request)

    async def stream(request: bytes, context: Any) -> None:
        async for message in several(request):
            await context.write(message)

    await _serve(call, stream)


class Methods(grpc.GenericRpcHandler):
    """One unary method and one stream, on bytes."""

    def __init__(self, single: Any, several: Any) -> None:
        self._handlers = {
            GENERATE: grpc.unary_unary_rpc_method_handler(single),
            GENERATE_STREAM: grpc.unary_stream_rpc_method_handler(several),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """The handler of a method."""
        return self._handlers.get(handler_call_details.method)


async def _serve(single: Any, several: Any) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Methods(single, several),))
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    sys.stdout.write(f"{server.add_insecure_port('127.0.0.1:0')}\n")
    sys.stdout.flush()
    await server.start()
    await server.wait_for_termination()


@contextlib.contextmanager
def started(command: list[str], cores: set[int], **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A process that lives as long as the block."""
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if command[1] == "gateway" else None,
        text=True,
    )
    os.sched_setaffinity(process.pid, cores)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@contextlib.contextmanager
def bare(name: str, cores: set[int], *role: str) -> Iterator[Subject]:
    """A server of this file in a process of its own."""
    with started(["-m", "tests.bench.bench_gateway", *role], cores) as process:
        assert process.stdout is not None
        yield Subject(name, int(process.stdout.readline()), psutil.Process(process.pid))


@contextlib.contextmanager
def gateway_before(backend: Subject, cores: set[int]) -> Iterator[Subject]:
    """The real gateway, as ``pequod up`` starts it, in front of ``backend``."""
    environment = {
        "PEQUOD_HOST": "127.0.0.1",
        "PEQUOD_GATEWAY_PORT": "0",
        "PEQUOD_GATEWAY_HTTP_PORT": "0",
        "PEQUOD_GATEWAY_ADMIN_PORT": "0",
        "PEQUOD_SAMPLER_BACKENDS": f"127.0.0.1:{backend.port}",
    }
    with started(["-m", "gateway"], cores, **environment) as process:
        ports: dict[str, int] = {}
        up = False
        assert process.stderr is not None
        while not (ports and up):
            line = json.loads(process.stderr.readline())
            ports = line.get("ports", ports)
            up = up or line["message"] == "backend is up"
        yield Subject("through", ports["grpc"], psutil.Process(process.pid))


Results = dict[tuple[str, str], list[Round]]


async def run_rounds(
    subjects: list[Subject], ours: list[psutil.Process], options: argparse.Namespace
) -> Results:
    """Interleaved rounds, until each case has as many as asked for or the time is over."""
    results: Results = {(case, s.name): [] for case, _, _ in CASES for s in subjects}
    end = time.monotonic() + options.limit
    while time.monotonic() < end and min(map(len, results.values())) < options.rounds:
        for case, load, callers in CASES:
            for subject in subjects:
                if len(results[case, subject.name]) < options.rounds:
                    found = await measure(load, callers, options.seconds, subject, ours)
                    results[case, subject.name] += [found] if found else []
    return results


def median(rounds: list[Round], field: str) -> float:
    """The median of one field over the rounds; NaN without rounds."""
    return statistics.median(getattr(r, field) for r in rounds) if rounds else math.nan


def report(results: Results) -> None:
    """Print a line for each case and subject, and the ratios."""
    write = sys.stdout.write
    write(f"{'case':<12}{'subject':<10}{'rounds':>7}{'per s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU us':>9}\n")
    for (case, name), rounds in results.items():
        rate, p50, p99, cpu = (median(rounds, field) for field in ("rate", "p50", "p99", "cpu"))
        write(f"{case:<12}{name:<10}{len(rounds):>7}{rate:>9.0f}{p50:>9.2f}{p99:>9.2f}{cpu:>9.0f}\n")
    write("\n")
    for case, _, _ in CASES:
        for subject, other in (("through", "direct"), ("least", "direct"), ("through", "least")):
            first, second = results[case, subject], results[case, other]
            rate = median(first, "rate") / median(second, "rate")
            cpu = median(first, "cpu") / median(second, "cpu")
            added = median(first, "p50") - median(second, "p50")
            pair = f"{subject}/{other}"
            write(f"{case:<12}{pair:<16}{rate:.2f} of the rate   CPU {cpu:.2f}x   added p50 {added:.2f} ms\n")


async def main(options: argparse.Namespace) -> None:
    """Start everything, measure, report."""
    cores = sorted(os.sched_getaffinity(0))
    pinned = not options.unpinned and len(cores) > 1
    subject_cores, other_cores = (set(cores[-1:]), set(cores[:-1])) if pinned else (set(cores), set(cores))
    sys.stdout.write(
        f"{len(cores)} cores, {'the subject has one for itself' if pinned else 'unpinned'}; "
        f"payload {len(PAYLOAD)} bytes, grpcio {grpc.__version__}, median of {options.rounds} rounds\n\n"
    )
    os.sched_setaffinity(0, other_cores)
    with (
        bare("direct", subject_cores, "--serve-echo") as direct,
        bare("backend", other_cores, "--serve-echo") as backend,
        bare("least", subject_cores, "--serve-proxy", str(backend.port)) as least,
        gateway_before(backend, subject_cores) as through,
    ):
        subjects = [direct, through, least]
        ours = [psutil.Process(), backend.process, *(subject.process for subject in subjects)]
        report(await run_rounds(subjects, ours, options))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round of unary calls")
    parser.add_argument("--limit", type=float, default=400.0, help="seconds after which no round is started")
    parser.add_argument("--unpinned", action="store_true")
    parser.add_argument("--serve-echo", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve-proxy", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    asked = parse()
    if asked.serve_echo:
        uvloop.run(serve_echo())
    elif asked.serve_proxy:
        uvloop.run(serve_proxy(asked.serve_proxy))
    else:
        uvloop.run(main(asked))
