"""Finds the service a call goes to: by its method, or by the model that its request names."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.call import Call
from gateway.methods import MODELS
from gateway.models import LIST_MODELS, ModelDirectory
from gateway.pipeline import Proceed
from gateway.upstream.pool import Pool


class Route:
    """Only ModelService needs a look into the request; every other call's bytes stay closed."""

    def __init__(self, pools: Mapping[str, Pool], models: ModelDirectory) -> None:
        self._pools = pools
        self._models = models

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Fill in ``pool``. ListModels ends here: its answer lies with all services together."""
        if call.method.service != MODELS:
            call.pool = self._pools[call.method.service]
        elif call.method.path == LIST_MODELS:
            await self._models.list_page(call)
            return
        else:
            call.pool = await self._models.owner(call)
        await proceed(call)
