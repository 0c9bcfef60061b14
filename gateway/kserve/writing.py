"""What the kinds of models that write have in common: text in, text out, whole or in pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from gateway.caller import Caller
from gateway.kserve.described import FREE, Description, TensorSpec, settings
from gateway.kserve.inputs import Inputs
from gateway.kserve.kind import Kind, Served
from gateway.kserve.request import Outcome, Value
from gateway.kserve.tensors import Tensor, of_texts
from gateway.openai.drawn import GENERATE, GENERATE_STREAM, finish_reason, streamed
from pequod.sampler import v1

INPUT, OUTPUT, FINISH = "text_input", "text_output", "finish_reason"
STREAM = "stream"
_NUMBERS = (
    *("temperature", "top_p", "min_p"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty"),
)
_MOST_STOPS = 16


def kind_of(served: Served, *others: TensorSpec) -> Kind:
    """A model that writes; ``others`` are inputs of its own."""
    inputs = (
        TensorSpec(INPUT, "BYTES", (1,)),
        *settings(max_tokens="INT32", seed="INT64", top_k="INT32", **dict.fromkeys(_NUMBERS, "FP32")),
        TensorSpec("stop", "BYTES", (FREE,), optional=True, most=_MOST_STOPS, setting=True),
        *settings(stream="BOOL"),
        *others,
    )
    outputs = (TensorSpec(OUTPUT, "BYTES", (1,)), TensorSpec(FINISH, "BYTES", (1,)))
    description = Description(served.platform, inputs, outputs, decoupled=True)
    return Kind(description, partial(_whole, served), partial(_pieces, served))


def request_of(served: Served, inputs: Inputs) -> v1.GenerateRequest:
    """The sampler's request. Raises INVALID_ARGUMENT for numbers below what they can be."""
    request = v1.GenerateRequest(model=served.asked, prompt=inputs.text(INPUT), adapter=served.adapter)
    request.stopping.stop.extend(inputs.texts("stop"))
    for name in _NUMBERS:
        if (number := inputs.number(name)) is not None:
            setattr(request.sampling, name, number)
    for message, name, value in (
        (request.sampling, "seed", inputs.seed("seed")),
        (request.sampling, "top_k", inputs.whole("top_k")),
        (request.stopping, "max_tokens", inputs.whole("max_tokens", least=1)),
    ):
        if value is not None:
            setattr(message, name, value)
    if (order := inputs.whole("order", least=1)) is not None:
        request.ngram.order = order
    return request


async def _whole(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    if inputs.flag(STREAM):
        raise inputs.refused(
            STREAM, "this call has one reply; ModelStreamInfer and generate_stream have more"
        )
    return await _drawn(served, inputs, caller)


async def _drawn(served: Served, inputs: Inputs, caller: Caller) -> Outcome:
    reply = await caller.one(GENERATE, request_of(served, inputs))
    (completion,) = reply.completions
    outputs = _outputs(completion.text, completion.finish_reason)
    return Outcome(outputs, usage=reply.usage, parameters={"seed": reply.seed})


async def _pieces(served: Served, inputs: Inputs, caller: Caller) -> AsyncGenerator[Outcome, None]:
    """Pieces, unless ``stream`` is said to be false."""
    if inputs.flag(STREAM) is False:
        yield await _drawn(served, inputs, caller)
        return
    parameters: dict[str, Value] = {}
    async with aclosing(caller.many(GENERATE_STREAM, streamed(request_of(served, inputs)))) as replies:
        async for reply in replies:
            parameters = parameters or {"seed": reply.seed}
            is_last = bool(reply.finish_reason)
            if reply.text or is_last:
                outputs = _outputs(reply.text, reply.finish_reason)
                yield Outcome(outputs, int(is_last), reply.usage, parameters, is_last)


def _outputs(text: str, reason: int) -> list[Tensor]:
    return [of_texts(OUTPUT, [text]), of_texts(FINISH, [finish_reason(reason) or ""])]
