"""DiffusionService: checks a request, gives its images to the dispatcher, makes replies of what comes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from pequod.common.v1 import Image, Usage
from pequod.diffusion import v1
from services.common import tenants
from services.common.errors import invalid
from services.common.residency import ModelManager
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.store import ModelVersion
from services.common.work import Work
from services.diffusion import encoding, replies
from services.diffusion.adapters.adapter import Adapter
from services.diffusion.engine import Model, Pixels, Ranker, Upscaler
from services.diffusion.ladder import Ladder, plan_ladder
from services.diffusion.loading.loader import Loaded
from services.diffusion.planning import Plan, plan
from services.diffusion.request import Request, read_generate, read_ladder, read_upscale
from services.diffusion.schedulers.levels import Array
from services.diffusion.serving.dispatcher import Dispatcher
from services.diffusion.serving.finishing import Taken, best, enlarged, picture_of
from services.diffusion.serving.job import Finished, Job, Order, Stepped, Waits


@dataclass(frozen=True)
class Defaults:
    """Models of requests that name none."""

    model: str
    upscaler: str
    ranker: str


@dataclass(eq=False)
class _Run:
    """A request at work."""

    request: Request
    plan: Plan
    model: Model
    version: ModelVersion
    job: Job
    upscaler: Upscaler | None
    ranker: Ranker | None
    upscaler_name: str
    text_ms: float
    taken: Taken = field(default_factory=Taken)
    pictures: dict[int, Pixels] = field(default_factory=dict)
    """By place among the candidates, until they are ranked."""
    returned: int = 0

    @property
    def is_ranked(self) -> bool:
        """Whether only the best are returned."""
        return self.ranker is not None


class DiffusionServicer(v1.DiffusionServiceServicer):
    """The service's RPCs. It keeps no state of its own."""

    def __init__(
        self,
        manager: ModelManager[Loaded],
        rankers: ModelManager[Ranker],
        dispatcher: Dispatcher,
        lane: Work,
        defaults: Defaults,
    ) -> None:
        """``lane``: where pictures are decoded, enlarged and written, beside the network's calls."""
        self._manager = manager
        self._rankers = rankers
        self._dispatcher = dispatcher
        self._lane = lane
        self._defaults = defaults

    async def Generate(
        self, request: v1.GenerateRequest, context: Context
    ) -> AsyncIterator[v1.GenerateResponse]:
        """Images, and what happens on the way to them."""
        deadline = deadline_of(context)
        async with self._run(request, deadline, context) as run:
            async for event in run.job.events():
                if isinstance(event, Waits):
                    yield replies.queued(event, run.plan)
                elif isinstance(event, Stepped):
                    yield replies.step(event, run.plan, await self._preview(run, event, deadline))
                else:
                    async for reply in self._finished(run, event, deadline):
                        yield reply
            used = replies.usage(run.job.figures, run.version)
            report(context, used)
            yield replies.done(run.returned, run.job.figures, run.text_ms, run.taken, used)

    async def NoiseLadder(self, request: v1.NoiseLadderRequest, context: Context) -> v1.NoiseLadderResponse:
        """A picture at levels of noise and the network's step back from each."""
        wanted = await asyncio.to_thread(read_ladder, request)
        deadline = deadline_of(context)
        async with self._model(request.model) as (model, version):
            ladder = await asyncio.to_thread(plan_ladder, wanted, model)
            made, used = await self._climb(model, version, ladder, deadline, context)
            encode = partial(encoding.rungs, model, ladder, made, wanted.output_format)
            rungs = (await self._lane.run(encode, deadline)).value
        report(context, used)
        return v1.NoiseLadderResponse(rungs=rungs, levels=ladder.levels, seed=wanted.seed, usage=used)

    async def Upscale(self, request: v1.UpscaleRequest, context: Context) -> v1.UpscaleResponse:
        """A larger picture."""
        wanted = await asyncio.to_thread(read_upscale, request)
        async with self._upscaler("model", request.model) as (upscaler, version):
            _check_factor("factor", upscaler, wanted.factor)
            await accepted(context)
            served = await self._lane.run(
                partial(encoding.enlarge, upscaler, wanted.picture, wanted.factor, wanted.output_format),
                deadline_of(context),
            )
        used = Usage(
            queue_ms=served.queue_ms,
            compute_ms=served.compute_ms,
            batch_rows=1,
            model=version.name,
            version=version.version,
        )
        report(context, used)
        return v1.UpscaleResponse(image=served.value, usage=used)

    @contextlib.asynccontextmanager
    async def _run(
        self, request: v1.GenerateRequest, deadline: float | None, context: Context
    ) -> AsyncIterator[_Run]:
        """Hold everything that a request needs, and its place in the dispatcher, while the block runs."""
        has_pictures = request.HasField("init_image") or request.HasField("mask")
        wanted = await asyncio.to_thread(read_generate, request) if has_pictures else read_generate(request)
        async with contextlib.AsyncExitStack() as held:
            model, version = await held.enter_async_context(self._model(request.model))
            adapters = [
                (await held.enter_async_context(self._adapter(name, place)), scale)
                for place, (name, scale) in enumerate(wanted.adapters)
            ]
            upscaler, enlarger = None, ""
            if wanted.factor > 1:
                upscaler, by = await held.enter_async_context(self._upscaler("upscaler", request.upscaler))
                _check_factor("upscale_factor", upscaler, wanted.factor)
                enlarger = str(by)
            ranker = None
            if request.best_of:
                resident = await held.enter_async_context(
                    self._rankers.use(request.ranker or self._defaults.ranker)
                )
                ranker = resident.model
            since = time.perf_counter()
            planned = await asyncio.to_thread(plan, wanted, model, adapters)
            text_ms = (time.perf_counter() - since) * 1e3
            order = Order(
                model,
                planned.starts,
                planned.steps,
                planned.calls,
                planned.rows,
                planned.shape,
                _caller(context),
                deadline,
                adapters,
                wanted.preview_every,
            )
            job = await held.enter_async_context(self._dispatcher.submit(order))
            await accepted(context)
            yield _Run(wanted, planned, model, version, job, upscaler, ranker, enlarger, text_ms)

    async def _preview(self, run: _Run, event: Stepped, deadline: float | None) -> Image | None:
        if event.preview is None:
            return None
        job = partial(encoding.preview, run.model, event.preview, run.request.preview_format)
        return (await self._lane.run(job, deadline)).value

    async def _finished(
        self, run: _Run, event: Finished, deadline: float | None
    ) -> AsyncIterator[v1.GenerateResponse]:
        """Replies that a finished image leads to: itself, or when it was the last one, the best of all."""
        job = partial(picture_of, event.painted, run.model, run.plan, run.taken)
        picture = (await self._lane.run(job, deadline)).value
        if run.ranker is None:
            yield await self._image(run, event.index, event.index, picture, None, deadline)
            return
        run.pictures[event.index] = picture
        if len(run.pictures) < run.request.best_of:
            return
        pictures = [run.pictures[index] for index in range(run.request.best_of)]
        ranking = partial(best, run.ranker, run.request.prompts.prompt, pictures, run.request.n)
        for place, (index, score) in enumerate((await self._lane.run(ranking, deadline)).value):
            yield await self._image(run, place, index, pictures[index], score, deadline)

    async def _image(
        self, run: _Run, place: int, index: int, picture: Pixels, score: float | None, deadline: float | None
    ) -> v1.GenerateResponse:
        seed = (run.request.seed + index) % 2**64
        settings = replies.settings(run.request, run.plan, run.version, seed, run.upscaler_name)
        job = partial(_finish, run, picture, settings)
        encoded = (await self._lane.run(job, deadline)).value
        run.returned += 1
        return replies.generated(place, encoded, seed, score, settings)

    async def _climb(
        self, model: Model, version: ModelVersion, ladder: Ladder, deadline: float | None, context: Context
    ) -> tuple[list[Array], Usage]:
        """What the network says of each rung but the clean one."""
        await accepted(context)
        if not ladder.starts:
            return [], Usage(model=version.name, version=version.version)
        shape = ladder.rungs[0].noisy.shape
        order = Order(model, ladder.starts, 1, 1, ladder.rows, shape, _caller(context), deadline)
        made: dict[int, Array] = {}
        async with self._dispatcher.submit(order) as job:
            async for event in job.events():
                if isinstance(event, Finished):
                    made[event.index] = event.painted
        return [made[index] for index in sorted(made)], replies.usage(job.figures, version)

    @contextlib.asynccontextmanager
    async def _model(self, reference: str) -> AsyncIterator[tuple[Model, ModelVersion]]:
        """Hold the model that a request names, or the default one."""
        async with self._manager.use(reference or self._defaults.model) as resident:
            if not isinstance(resident.model, Model):
                raise invalid("model", f"{_described(resident.version)}, no model of images")
            yield resident.model, resident.version

    @contextlib.asynccontextmanager
    async def _upscaler(self, asked: str, reference: str) -> AsyncIterator[tuple[Upscaler, ModelVersion]]:
        async with self._manager.use(reference or self._defaults.upscaler) as resident:
            if not isinstance(resident.model, Upscaler):
                raise invalid(asked, f"{_described(resident.version)}, no upscaler")
            yield resident.model, resident.version

    @contextlib.asynccontextmanager
    async def _adapter(self, reference: str, place: int) -> AsyncIterator[Adapter]:
        async with self._manager.use(reference) as resident:
            if not isinstance(resident.model, Adapter):
                raise invalid(f"adapters[{place}].adapter", f"{resident.version} is no adapter")
            yield resident.model


def _described(version: ModelVersion) -> str:
    return f"{version} is of kind {version.manifest.kind}"


def _caller(context: Context) -> str:
    """Who calls, as the gateway says; callers it does not name share one account."""
    metadata = dict(context.invocation_metadata() or ())
    return str(metadata.get(tenants.CALLER_KEY, ""))


def _check_factor(name: str, upscaler: Upscaler, factor: int) -> None:
    if factor not in upscaler.factors:
        known = ", ".join(map(str, upscaler.factors))
        raise invalid(name, f"{upscaler.name} enlarges {known} times, not {factor}")


def _finish(run: _Run, picture: Pixels, settings: dict[str, object]) -> Image:
    """Enlarge and encode."""
    larger = enlarged(picture, run.upscaler, run.request.factor, run.taken)
    since = time.perf_counter()
    encoded = replies.image(larger, run.request.output_format, settings)
    run.taken.add("encode", since)
    return encoded
