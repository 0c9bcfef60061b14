"""Errors as google.rpc.Status: whatever their words are, the caller gets them."""

import grpc
import grpc.aio
import pytest

from services.common.errors import Code, FieldViolation, Reason, ServiceError, invalid
from services.common.rpc import status


async def told(error):
    """What a caller is told of ``error`` over a real connection."""
    rich = status.to_status(error, "r" * 128)

    async def refuse(request, context):
        await context.abort(status.grpc_code(rich.code), rich.message, status.trailing(rich))

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details):
            return grpc.unary_unary_rpc_method_handler(refuse)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/a/b")(b"")
    finally:
        await server.stop(None)
    return caught.value


@pytest.mark.parametrize("letter", ["a", "ä", "后", "\0", "😀"])
@pytest.mark.parametrize("length", [10, 1500, 100_000])
async def test_words_of_any_length_arrive(letter, length):
    error = invalid(f"chat.{letter * length}", f"must be one of user, got {letter * length}")
    error.metadata = {"close": letter * length}
    error.resource = ("model", letter * length)
    caught = await told(error)
    assert caught.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.details().startswith("chat.")
    assert len(caught.details()) <= status.MOST_MESSAGE + 1


async def test_of_many_violations_the_first_arrive():
    violations = tuple(FieldViolation(f"words[{n}]", "w" * 100) for n in range(500))
    error = ServiceError(Code.INVALID_ARGUMENT, Reason.INVALID_FIELD, "many", violations)
    caught = await told(error)
    [packed] = [value for key, value in caught.trailing_metadata() if key == status.DETAILS_KEY]
    found = status.from_status(status.status_pb2.Status.FromString(packed)).violations
    assert 10 <= len(found) < 500
    assert found[:5] == violations[:5]


def test_short_words_stay_as_they_are():
    error = invalid("n", "must be in 1..16, got 17; 后 ä")
    assert status.from_status(status.to_status(error)).message == error.message
    assert status.shortened("abc", 3) == "abc"
    assert status.shortened("abcd", 3) == "abc…"
    assert status.shortened("äb", 5) == "…"
