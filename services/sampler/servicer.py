"""SamplerService: checks a request, gives its sequences to the scheduler, makes replies of what comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, replace

from pequod.common.v1 import Usage
from pequod.sampler import v1
from services.common.errors import invalid
from services.common.lora import Adapter
from services.common.residency import ModelManager
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.store import ModelVersion
from services.sampler import replies
from services.sampler.engine import Engine, Output
from services.sampler.loader import Loaded
from services.sampler.planning import check_features, plan, plan_look
from services.sampler.request import Request, read_generate, read_inspect, read_score, read_table
from services.sampler.scheduler import Scheduler, Ticket, Timing
from services.sampler.sequence import Plan, Sequence

_QUICK_CHARACTERS = 4096
"""Prompts up to this long are encoded on the event loop; longer ones, forms and adapters take a thread."""


@dataclass(frozen=True)
class _Run:
    """A request at work."""

    ticket: Ticket
    engine: Engine
    version: ModelVersion
    plan: Plan
    echo: str

    def usage(self, output_tokens: int = 0) -> Usage:
        """What it used so far."""
        return replies.usage(self.ticket.timing, self.version, len(self.plan.prompt), output_tokens)


class SamplerServicer(v1.SamplerServiceServicer):
    """The sampler's RPCs. It keeps no state of its own."""

    def __init__(
        self, manager: ModelManager[Loaded], scheduler: Scheduler, default_model: str, max_tokens: int
    ) -> None:
        """``max_tokens`` is the most symbols a completion may have."""
        self._manager = manager
        self._scheduler = scheduler
        self._default_model = default_model
        self._max_tokens = max_tokens

    async def Generate(self, request: v1.GenerateRequest, context: Context) -> v1.GenerateResponse:
        """Whole completions; of ``best_of`` drawn, the ``n`` likeliest."""
        wanted = read_generate(request, self._max_tokens)
        async with self._run(wanted, request.model, request.echo, context) as run:
            drawn = await _gather(run)
        likeliest = sorted(drawn, key=lambda output: -output.logprob) if wanted.best_of > wanted.n else drawn
        alphabet = run.engine.alphabet
        used = run.usage(sum(len(output.ids) for output in drawn))
        report(context, used)
        return v1.GenerateResponse(
            completions=[
                replies.completion(index, output, alphabet, run.echo)
                for index, output in enumerate(likeliest[: wanted.n])
            ],
            seed=wanted.seed,
            prompt_tokens=replies.positions(drawn[0].prompt_positions, alphabet, wanted.source.text),
            usage=used,
        )

    async def GenerateStream(
        self, request: v1.GenerateStreamRequest, context: Context
    ) -> AsyncIterator[v1.GenerateStreamResponse]:
        """Pieces of completions as they become certain."""
        wanted = read_generate(request, self._max_tokens)
        async with (
            self._run(wanted, request.model, request.echo, context) as run,
            contextlib.aclosing(_messages(run, wanted)) as messages,
        ):
            async for message in messages:
                if message.HasField("usage"):
                    report(context, message.usage)
                yield message

    async def NextTokens(self, request: v1.NextTokensRequest, context: Context) -> v1.NextTokensResponse:
        """The probability table of the next symbol."""
        wanted = read_table(request)
        async with self._run(wanted, request.model, False, context) as run:
            (output,) = await _gather(run)
        assert output.table is not None  # a sequence with Task.TABLE ends with its table
        used = run.usage()
        report(context, used)
        return replies.table(output.table, run.engine.alphabet, used)

    async def Score(self, request: v1.ScoreRequest, context: Context) -> v1.ScoreResponse:
        """The likelihood of a text."""
        wanted = read_score(request)
        async with self._run(wanted, request.model, False, context) as run:
            (output,) = await _gather(run)
        used = run.usage()
        report(context, used)
        text = run.engine.alphabet.normalise(wanted.source.text)
        return replies.score(output, run.engine.alphabet, text, used)

    async def Inspect(self, request: v1.InspectRequest, context: Context) -> v1.InspectResponse:
        """The three phases of a transformer on a prompt."""
        question = read_inspect(request)
        async with self._model(request.model) as (engine, version):
            ids, chosen = plan_look(question, version.name, engine.traits, engine.alphabet)
            await accepted(context)
            started = time.perf_counter()
            inside = await asyncio.to_thread(engine.inspect, ids, chosen, question.top)
            timing = Timing(0.0, time.perf_counter() - started, 1)
        used = replies.usage(timing, version, len(ids), 0)
        report(context, used)
        return replies.inside(inside, ids.tolist(), question, engine.alphabet, used)

    @contextlib.asynccontextmanager
    async def _model(self, reference: str) -> AsyncIterator[tuple[Engine, ModelVersion]]:
        """Hold the model that a request names, or the default one."""
        async with self._manager.use(reference or self._default_model) as resident:
            if isinstance(resident.model, Adapter):
                raise invalid("model", f"{resident.version} is an adapter; name its model, and it in adapter")
            yield resident.model, resident.version

    @contextlib.asynccontextmanager
    async def _adapter(
        self, wanted: Request, engine: Engine, version: ModelVersion
    ) -> AsyncIterator[Adapter | None]:
        """Hold the adapter that a request names, if its model takes any."""
        if not wanted.adapter:
            yield None
            return
        check_features(wanted, version.name, engine.traits)
        async with self._manager.use(wanted.adapter) as resident:
            if not isinstance(resident.model, Adapter):
                raise invalid("adapter", f"{resident.version} is a model and no adapter")
            yield resident.model

    @contextlib.asynccontextmanager
    async def _run(self, wanted: Request, model: str, echo: bool, context: Context) -> AsyncIterator[_Run]:
        """Hold the model and a place in the scheduler while the block runs; work has begun when it starts."""
        async with (
            self._model(model) as (engine, version),
            self._adapter(wanted, engine, version) as adapter,
        ):
            planned = await _plan(wanted, version.name, engine, adapter)
            sequences = [
                Sequence(_without_prompt_logprobs(planned) if index else planned, index, engine.alphabet)
                for index in range(wanted.best_of)
            ]
            prompt = _echo(planned, wanted, engine) if echo else ""
            async with self._scheduler.submit(engine, sequences, deadline_of(context)) as ticket:
                await ticket.begun()
                await accepted(context)
                yield _Run(ticket, engine, version, planned, prompt)


async def _plan(wanted: Request, model: str, engine: Engine, adapter: Adapter | None) -> Plan:
    is_quick = len(wanted.source.text) <= _QUICK_CHARACTERS and wanted.structured is None and adapter is None
    if is_quick:
        return plan(wanted, model, engine.traits, engine.alphabet)
    return await asyncio.to_thread(plan, wanted, model, engine.traits, engine.alphabet, adapter)


def _without_prompt_logprobs(planned: Plan) -> Plan:
    """The prompt is scored once a request, by its first sequence."""
    return replace(planned, prompt_logprobs=False)


def _echo(planned: Plan, wanted: Request, engine: Engine) -> str:
    """The prompt as the model reads it, so that prompt and completion are one text of its alphabet."""
    if wanted.source.ids:
        pieces = (engine.alphabet.piece(symbol) for symbol in planned.prompt.tolist())
        return b"".join(pieces).decode(errors="replace")
    return engine.alphabet.normalise(wanted.source.text)


async def _gather(run: _Run) -> list[Output]:
    """What each sequence gave in all."""
    whole = [Output() for _ in run.ticket.rows]
    async for index, output in run.ticket.outputs():
        whole[index].add(output)
    return whole


async def _messages(run: _Run, wanted: Request) -> AsyncGenerator[v1.GenerateStreamResponse, None]:
    """The stream: seed and prompt positions in its first message, usage in its last."""
    alphabet = run.engine.alphabet
    unfinished, produced, begun = wanted.n, 0, set[int]()
    async with contextlib.aclosing(_prompt_first(run)) as outputs:
        async for index, output in outputs:
            if output.is_empty:
                continue
            message = replies.part(index, output, alphabet, "" if index in begun else run.echo)
            if not begun:
                message.seed = wanted.seed
                scored = replies.positions(output.prompt_positions, alphabet, wanted.source.text)
                message.prompt_tokens.extend(scored)
            begun.add(index)
            produced += len(output.ids)
            unfinished -= output.finish is not None
            if not unfinished:
                message.usage.CopyFrom(run.usage(produced))
            yield message


async def _prompt_first(run: _Run) -> AsyncGenerator[tuple[int, Output], None]:
    """All outputs; when prompt logprobs are asked for, the first one brings them all."""
    early: list[tuple[int, Output]] = []
    reading = run.plan.prompt_logprobs
    first = Output()
    async for index, output in run.ticket.outputs():
        if not reading:
            yield index, output
        elif index:
            early.append((index, output))
        else:
            first.add(output)
            reading = len(first.prompt_positions) < len(run.plan.prompt)
            if not reading:
                yield 0, first
                for held in early:
                    yield held
