"""GanService: checks a request, has its images drawn, makes replies of what comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from pequod.gan import v1
from services.common.errors import unsupported
from services.common.rpc.usage import Context, accepted, deadline_of, report
from services.common.store import ModelVersion
from services.gan import planning, replies, requests
from services.gan.engine import Draft, Drawn, Model
from services.gan.fields import Options, read_images
from services.gan.loading.models import Models
from services.gan.planning import Setting
from services.gan.serving.finishing import Finishing
from services.gan.serving.looking import nearest, neighbours_of
from services.gan.serving.meter import Meter
from services.gan.serving.projecting import Stepped
from services.gan.serving.rooms import Rooms

T = TypeVar("T")


@dataclass(eq=False)
class _Session:
    """A request at work on a model."""

    model: Model
    version: ModelVersion
    setting: Setting
    finishing: Finishing
    deadline: float | None
    meter: Meter = field(default_factory=Meter)


class GanServicer(v1.GanServiceServicer):
    """The service's RPCs. It keeps no state of its own."""

    def __init__(self, models: Models, rooms: Rooms) -> None:
        self._models = models
        self._rooms = rooms

    async def Sample(self, request: v1.SampleRequest, context: Context) -> v1.SampleResponse:
        """Images from seeds."""
        wanted = requests.read_sample(request)
        async with self._session(request.model, wanted.options, context) as session:
            drafts = [session.setting.single(planning.seeded(each)) for each in wanted.seeds]
            await accepted(context)
            draw = self._grid if wanted.is_grid else self._singles
            reply = await draw(session, drafts, wanted.seeds)
        reply.usage.CopyFrom(session.meter.usage(session.version))
        report(context, reply.usage)
        return reply

    async def Interpolate(
        self, request: v1.InterpolateRequest, context: Context
    ) -> AsyncIterator[v1.InterpolateResponse]:
        """Frame by frame, or their progress and a moving picture."""
        wanted = requests.read_walk(request)
        async with self._session(request.model, wanted.options, context) as session:
            drafts = planning.walk(wanted, session.setting)
            walk = self._frames if wanted.moving is None else self._animation
            async with aclosing(walk(session, wanted, drafts, context)) as events:
                async for reply in events:
                    yield reply

    async def Mix(self, request: v1.MixRequest, context: Context) -> v1.MixResponse:
        """One image with some layers of others."""
        wanted = requests.read_mix(request)
        async with self._session(request.model, wanted.options, context) as session:
            draft = planning.mix(wanted, session.setting)
            image = await self._single(session, draft, context)
        used = session.meter.usage(session.version)
        report(context, used)
        return v1.MixResponse(image=image, usage=used)

    async def Edit(self, request: v1.EditRequest, context: Context) -> v1.EditResponse:
        """An image moved along directions."""
        wanted = requests.read_edit(request)
        async with self._session(request.model, wanted.options, context) as session:
            draft = planning.edit(wanted, session.setting, session.model)
            image = await self._single(session, draft, context)
        used = session.meter.usage(session.version)
        report(context, used)
        return v1.EditResponse(image=image, usage=used)

    async def Score(self, request: v1.ScoreRequest, context: Context) -> v1.ScoreResponse:
        """What the discriminator says of pictures."""
        stated = requests.read_score(request)
        deadline, meter = deadline_of(context), Meter()
        async with self._models.gan(request.model) as held:
            model, traits = held.model, held.model.traits
            references = model.companions.references
            if references is None:
                raise unsupported(f"{held.version} has no scores of known images to compare with")
            attributes = traits.vocabulary.vector(stated, "attributes")
            pictures = await asyncio.to_thread(read_images, "images", request.images, traits.size)
            await accepted(context)
            logits = await self._rooms.judging.logits(model, pictures, attributes, deadline, meter)
        used = meter.usage(held.version)
        report(context, used)
        return v1.ScoreResponse(scores=[replies.score(each, references) for each in logits], usage=used)

    async def Project(
        self, request: v1.ProjectRequest, context: Context
    ) -> AsyncIterator[v1.ProjectResponse]:
        """The steps on the way to a picture's code, and the code."""
        wanted = await asyncio.to_thread(requests.read_project, request)
        options = replace(wanted.options, psi=None, cutoff=0, attributes={})
        async with (
            self._session(request.model, options, context) as session,
            self._models.eyes() as eyes,
        ):
            steps = self._rooms.projections.descend(wanted, session.model, session.deadline, session.meter)
            code = session.model.mean()
            async with aclosing(steps) as events:
                async for event in events:
                    code = event.code
                    if event.step == 0:
                        await accepted(context)
                    else:
                        yield await self._stepped(session, wanted, event)
            draft = session.setting.of_code(code, wanted.noise_seed)
            compare = partial(session.finishing.projection, wanted.picture, eyes.model)
            result = await self._draw(session, draft, compare)
            used = session.meter.usage(session.version)
            report(context, used)
            yield v1.ProjectResponse(result=result, usage=used)

    async def Nearest(self, request: v1.NearestRequest, context: Context) -> v1.NearestResponse:
        """The training images nearest to a picture, or to an image that is made for it."""
        wanted = await asyncio.to_thread(requests.read_nearest, request)
        async with self._session(request.model, requests.usual(), context) as session:
            neighbours = neighbours_of(session.model)
            async with self._models.eyes(neighbours.feature_model) as eyes:
                draft = None if wanted.origin is None else session.setting.single(wanted.origin)
                await accepted(context)
                picture = wanted.picture
                if draft is not None:
                    picture = (await self._draw(session, draft, _itself)).picture
                assert picture is not None, "a query is one or the other"
                size = session.model.traits.size
                look = partial(nearest, picture, size, eyes.model, neighbours, wanted.limit)
                served = await self._rooms.lane.run(look, session.deadline)
        session.meter.note(served)
        used = session.meter.usage(session.version)
        report(context, used)
        return v1.NearestResponse(
            images=[replies.neighbour(each) for each in served.value],
            feature_model=neighbours.feature_model,
            searched=len(neighbours),
            usage=used,
        )

    @contextlib.asynccontextmanager
    async def _session(self, reference: str, options: Options, context: Context) -> AsyncIterator[_Session]:
        """Hold the model that a request names, and the upscaler that its options need."""
        deadline = deadline_of(context)
        async with self._models.gan(reference) as held:
            setting = Setting.of(held.model.traits, options)
            async with self._models.upscaler(options.upscaler, options.factor) as upscaler:
                finishing = Finishing(setting, held.version, upscaler)
                yield _Session(held.model, held.version, setting, finishing, deadline)

    async def _draw(self, session: _Session, draft: Draft, finish: Callable[[Drawn], T]) -> T:
        """One image, finished."""
        return await self._rooms.studio.one(session.model, draft, finish, session.deadline, session.meter)

    def _draws(
        self, session: _Session, drafts: Iterable[Draft], finish: Callable[[int, Drawn], T]
    ) -> AsyncGenerator[T, None]:
        """Images, finished in their order."""
        return self._rooms.studio.draw(session.model, drafts, finish, session.deadline, session.meter)

    async def _single(self, session: _Session, draft: Draft, context: Context) -> v1.GeneratedImage:
        """The one image of a reply."""
        await accepted(context)
        return await self._draw(session, draft, partial(session.finishing.single, seed=0))

    async def _singles(
        self, session: _Session, drafts: Sequence[Draft], seeds: Sequence[int]
    ) -> v1.SampleResponse:
        """A file an image."""

        def finish(index: int, drawn: Drawn) -> v1.GeneratedImage:
            return session.finishing.single(drawn, seeds[index], seeds[index : index + 1])

        async with aclosing(self._draws(session, drafts, finish)) as made:
            return v1.SampleResponse(images=[each async for each in made])

    async def _grid(
        self, session: _Session, drafts: Sequence[Draft], seeds: Sequence[int]
    ) -> v1.SampleResponse:
        """All in one file."""
        finishing = session.finishing

        def finish(index: int, drawn: Drawn) -> Drawn:
            return finishing.enlarged(drawn)

        async with aclosing(self._draws(session, drafts, finish)) as made:
            drawn = [each async for each in made]
        job = partial(finishing.grid, [each.picture for each in drawn], seeds)
        whole, columns = (await self._rooms.lane.run(job, session.deadline)).value
        wants = session.setting.options.wants_codes
        images = [replies.generated(each, None, seed, wants) for each, seed in zip(drawn, seeds, strict=True)]
        return v1.SampleResponse(images=images, grid=whole, grid_columns=columns)

    async def _frames(
        self, session: _Session, wanted: requests.Walk, drafts: Iterable[Draft], context: Context
    ) -> AsyncGenerator[v1.InterpolateResponse, None]:
        """Frames one by one, as fast as they are read."""
        await accepted(context)

        def finish(index: int, drawn: Drawn) -> v1.Frame:
            image = session.finishing.single(drawn, seed=0)
            return v1.Frame(index=index, position=planning.position(wanted, index), image=image)

        async with aclosing(self._draws(session, drafts, finish)) as frames:
            async for frame in frames:
                reply = v1.InterpolateResponse(frame=frame)
                if frame.index == wanted.frames - 1:
                    reply.usage.CopyFrom(session.meter.usage(session.version))
                    report(context, reply.usage)
                yield reply

    async def _animation(
        self, session: _Session, wanted: requests.Walk, drafts: Iterable[Draft], context: Context
    ) -> AsyncGenerator[v1.InterpolateResponse, None]:
        """How far it is, then the moving picture."""
        animator, moving = self._rooms.animator, wanted.moving
        assert moving is not None, "frames one by one go another way"
        side = session.model.traits.size * session.setting.options.factor
        with animator.place(wanted.frames, side):
            await accepted(context)
            made = []

            def finish(index: int, drawn: Drawn) -> Drawn:
                return session.finishing.enlarged(drawn)

            async with aclosing(self._draws(session, drafts, finish)) as frames:
                async for frame in frames:
                    made.append(frame.picture)
                    yield replies.progress(len(made), wanted.frames)
            data = await animator.encode(made, moving, wanted.per_second, session.deadline)
            used = session.meter.usage(session.version)
            report(context, used)
            yield v1.InterpolateResponse(animation=replies.animation(data, moving, made), usage=used)

    async def _stepped(
        self, session: _Session, wanted: requests.Project, event: Stepped
    ) -> v1.ProjectResponse:
        """A step, with what the image looks like when a preview is due."""
        step = v1.ProjectionStep(step=event.step, steps=wanted.steps, loss=event.loss)
        if wanted.preview_every and event.step % wanted.preview_every == 0:
            draft = session.setting.of_code(event.code, wanted.noise_seed)
            image = await self._draw(session, draft, partial(session.finishing.single, seed=0))
            step.preview.CopyFrom(image.image)
        return v1.ProjectResponse(step=step)


def _itself(drawn: Drawn) -> Drawn:
    return drawn
