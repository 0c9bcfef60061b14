"""What a key may do: groups of methods, names of models."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.call import Call
from gateway.groups import group_table
from gateway.methods import Method
from gateway.pipeline import Proceed
from gateway.request import models_in
from services.common.errors import Code, Reason, ServiceError


class Authorise:
    """Runs after authentication. A call that is refused here has cost nothing yet."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self._groups = group_table(methods)

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Raises PERMISSION_DENIED with what the key lacks."""
        principal = call.principal
        needed = self._groups[call.method.path]
        if not principal.groups.intersection(needed):
            lacks = " or ".join(each.value for each in needed)
            has = ", ".join(sorted(each.value for each in principal.groups)) or "nothing"
            raise _denied(f"{call.method.path.lstrip('/')} needs {lacks}; this key may use {has}")
        if not principal.any_model:
            for model in await models_in(call):
                if not principal.may_use(model):
                    allowed = ", ".join(principal.models) or "none"
                    raise _denied(f"this key may use the models {allowed}, not {model!r}")
        await proceed(call)


def _denied(what: str) -> ServiceError:
    return ServiceError(Code.PERMISSION_DENIED, Reason.NOT_ALLOWED, what)
