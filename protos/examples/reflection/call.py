"""Calls any method by what the server says of itself: no protos, no stubs, as grpcurl does it.

``python call.py HOST:PORT`` lists the services and their methods;
``python call.py HOST:PORT pequod.sampler.v1.SamplerService/NextTokens '{"prompt": "THE "}'`` calls one.
Needs grpcio-reflection only.
"""

from __future__ import annotations

import sys

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def main(target: str, path: str = "", body: str = "{}") -> None:
    """List, or call and print each reply as JSON."""
    with grpc.insecure_channel(target) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(known)
        if not path:
            for service in sorted(known.get_services()):
                for method in pool.FindServiceByName(service).methods:
                    print(f"{service}/{method.name}")
            return
        service, _, name = path.partition("/")
        method = pool.FindServiceByName(service).methods_by_name[name]
        request = json_format.Parse(body, GetMessageClass(method.input_type)())
        for reply in replies(channel, method, request):
            print(json_format.MessageToJson(reply, indent=None, ensure_ascii=False))


def replies(channel: grpc.Channel, method: MethodDescriptor, request: object) -> list[object]:
    """The one reply, or those of a stream as they come."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    reply = GetMessageClass(method.output_type).FromString
    if method.server_streaming:
        return channel.unary_stream(path, type(request).SerializeToString, reply)(request, timeout=600)
    return [channel.unary_unary(path, type(request).SerializeToString, reply)(request, timeout=60)]


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except grpc.RpcError as error:
        sys.exit(f"{error.code().name}: {error.details()}")
