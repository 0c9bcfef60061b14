"""One caller of the cluster, by the front door or of one process, and what it is refused with."""

from __future__ import annotations

from typing import Any

import grpc

from pequod.finetune import v1 as finetune
from pequod.model import v1 as model
from pequod.sampler import v1 as sampler
from pequod.tokenizer import v1 as tokenizer
from pequod_client.errors import PequodError, from_rpc_error
from tests.distributed.cluster import Cluster
from tests.distributed.process import Process
from tests.unit.finetune.job_parts import book
from tests.unit.finetune.parts import requests_of, start_of

FILES = {"book.txt": book(1)}


class Caller:
    """Calls one after the other. ``refusal_…`` methods return the error, None where there was none."""

    def __init__(self, cluster: Cluster, process: Process | None = None, key: str = "") -> None:
        """``process``: a gateway or a replica in place of Envoy; ``key`` in place of the cluster's own."""
        if process is None:
            credentials = grpc.ssl_channel_credentials(cluster.front.authorities)
            self.channel = grpc.secure_channel(cluster.front.target, credentials)
        else:
            port = cluster.ports[process.name.rpartition("-")[0]]
            self.channel = grpc.insecure_channel(f"{cluster.machine(process)}:{port}")
        self.given: dict[str, Any] = {
            "timeout": 60,
            "metadata": (("authorization", f"Bearer {key or cluster.key}"),),
        }

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def version(self, name: str) -> str:
        """Of the model that writes a text. Raises PequodError."""
        request = sampler.GenerateRequest(
            model=name,
            prompt="THE ",
            ngram=sampler.NgramOptions(order=3),
            stopping=sampler.Stopping(max_tokens=8),
        )
        try:
            reply = sampler.SamplerServiceStub(self.channel).Generate(request, **self.given)
        except grpc.RpcError as error:
            raise from_rpc_error(error) from error
        return str(reply.usage.version)

    def serves(self, name: str, version: str, times: int = 6) -> bool:
        """Whether every one of some calls, to all replicas, is answered by ``version``."""
        try:
            return {self.version(name) for _ in range(times)} == {version}
        except PequodError as error:
            if error.code is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False

    def knows(self, name: str) -> bool:
        """Whether the platform lists a model."""
        listed = model.ModelServiceStub(self.channel).ListModels(model.ListModelsRequest(), **self.given)
        return name in {each.name for each in listed.models}

    def refusal_to_load(self, name: str) -> PequodError | None:
        """What loading a model is refused with."""
        stub = model.ModelServiceStub(self.channel)
        return self._refusal(stub.LoadModel, model.LoadModelRequest(model=name))

    def refusal_to_count(self) -> PequodError | None:
        """What a call that every key may make is refused with."""
        stub = tokenizer.TokenizerServiceStub(self.channel)
        return self._refusal(stub.Tokenize, tokenizer.TokenizeRequest(model="gpt2", texts=["a whale"]))

    def refusal_to_upload(self, files: dict[str, bytes]) -> PequodError | None:
        """What an upload of a data set is refused with."""
        stub = finetune.DatasetServiceStub(self.channel)
        return self._refusal(stub.UploadDataset, requests_of(start_of(files), b"".join(files.values())))

    def _refusal(self, ask: Any, request: Any) -> PequodError | None:
        try:
            ask(request, **self.given)
        except grpc.RpcError as error:
            return from_rpc_error(error)
        return None


def told_by_gateways(cluster: Cluster, key: str) -> list[str]:
    """For each gateway OK, or the reason for which it refuses a call with ``key``."""
    said = []
    for gateway in cluster.gateways:
        with Caller(cluster, gateway, key) as caller:
            refused = caller.refusal_to_count()
        said.append("OK" if refused is None else refused.reason)
    return said
