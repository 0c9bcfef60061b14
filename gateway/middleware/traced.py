"""The span of every call, where the gateway traces."""

from __future__ import annotations

from gateway.call import Call
from gateway.middleware.settle import code_of
from gateway.pipeline import Proceed
from services.common.tracing import rpc, spans


class Traced:
    """Stands around all steps that may take time.

    A call that came in over gRPC is served here; one that a request over HTTP or KServe leads to is a part
    of that request, whose door has begun a span already.
    """

    async def handle(self, call: Call, proceed: Proceed) -> None:
        """Await the rest within the call's span."""
        if not spans.is_on():
            await proceed(call)
            return
        path = call.method.path
        is_part = spans.current() is not None
        with rpc.part(path) if is_part else rpc.served(path, call.metadata) as span:
            span.set({"pequod.request_id": call.request_id})
            try:
                await proceed(call)
            except BaseException as error:
                rpc.answered(span, code_of(error, call))
                raise
            rpc.answered(span, "OK")
