"""The models that a request holds: GANs, upscalers, what sees pictures."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from services.common.errors import Reason, ServiceError, invalid
from services.common.residency import ModelManager
from services.common.store import ModelVersion
from services.gan.engine import Eyes, Model, Upscaler

M_co = TypeVar("M_co", covariant=True)


@dataclass(frozen=True)
class Defaults:
    """Models of requests that name none."""

    model: str
    upscaler: str
    feature_model: str


@dataclass(frozen=True)
class Held(Generic[M_co]):
    """A model that stays in memory while the request has it."""

    model: M_co
    version: ModelVersion


class Models:
    """Models by reference."""

    def __init__(
        self,
        own: ModelManager[Model],
        upscalers: ModelManager[Upscaler],
        eyes: ModelManager[Eyes],
        defaults: Defaults,
    ) -> None:
        self._own, self._upscalers, self._eyes = own, upscalers, eyes
        self._defaults = defaults

    @contextlib.asynccontextmanager
    async def gan(self, reference: str) -> AsyncIterator[Held[Model]]:
        """A GAN. NOT_FOUND says what to do where the store has none at all."""
        async with contextlib.AsyncExitStack() as held:
            try:
                resident = await held.enter_async_context(self._own.use(reference or self._defaults.model))
            except ServiceError as error:
                if error.reason is Reason.MODEL_NOT_FOUND and not await self._own.list_versions():
                    error.message += (
                        "; the store has no GAN: train one with recipe train_gan "
                        "(python -m services.finetune.recipes.train_gan --help)"
                    )
                raise
            yield Held(resident.model, resident.version)

    @contextlib.asynccontextmanager
    async def upscaler(self, reference: str, factor: int) -> AsyncIterator[Held[Upscaler] | None]:
        """An upscaler that enlarges ``factor`` times; None for 1."""
        if factor == 1:
            yield None
            return
        async with self._upscalers.use(reference or self._defaults.upscaler) as resident:
            upscaler = resident.model
            if factor not in upscaler.factors:
                known = ", ".join(map(str, upscaler.factors))
                limit = f"{upscaler.name} enlarges {known} times, not {factor}"
                raise invalid("options.upscale_factor", limit)
            yield Held(upscaler, resident.version)

    @contextlib.asynccontextmanager
    async def eyes(self, reference: str = "") -> AsyncIterator[Held[Eyes]]:
        """What sees pictures in the space of an embedder."""
        async with self._eyes.use(reference or self._defaults.feature_model) as resident:
            yield Held(resident.model, resident.version)
