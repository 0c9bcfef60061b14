"""What a refused call says: its status details, and the field that is at fault."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from services.common.rpc.status import DETAILS_KEY

UNLIMITED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


def refused(call: Callable[..., Message], message: Message, timeout: float = 30) -> grpc.RpcError:
    """The error of a call that must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        call(message, timeout=timeout)
    return caught.value


def violated(error: grpc.RpcError) -> str:
    """The first field that the error's details name."""
    rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
    bad = error_details_pb2.BadRequest()
    assert any(packed.Unpack(bad) for packed in rich.details), rich
    return bad.field_violations[0].field


def refused_bytes(channel: grpc.Channel, method: str, data: bytes) -> grpc.RpcError:
    """The error of a call whose message is ``data``, which must fail."""
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{method}")(data, timeout=10)
    return caught.value
