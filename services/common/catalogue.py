"""The services of the platform: names, ports and the gRPC services each one offers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ServiceEntry:
    """One model service. ``proto_modules`` are the stub packages that describe its gRPC services."""

    name: str
    port: int
    side_port: int
    grpc_services: tuple[str, ...]
    proto_modules: tuple[str, ...]
    has_models: bool = True
    """Whether it has models of its own, which its ModelService tells of."""

    @property
    def module(self) -> str:
        """What ``python -m`` runs."""
        return f"services.{self.name}"


UPKEEP = "services.finetune.upkeep.opening"
"""The module that knows what data sets and jobs keep: `pequod store gc`, `backup` and `restore` load it."""
MODEL_SERVICE = "pequod.model.v1.ModelService"

SERVICES: tuple[ServiceEntry, ...] = (
    ServiceEntry(
        name="tokenizer",
        port=50061,
        side_port=9061,
        grpc_services=("pequod.tokenizer.v1.TokenizerService", "pequod.tokenizer.v1.EmbeddingService"),
        proto_modules=("pequod.tokenizer.v1.tokenizer_pb2", "pequod.tokenizer.v1.embedding_pb2"),
    ),
    ServiceEntry(
        name="sampler",
        port=50062,
        side_port=9062,
        grpc_services=("pequod.sampler.v1.SamplerService",),
        proto_modules=("pequod.sampler.v1.sampler_pb2",),
    ),
    ServiceEntry(
        name="diffusion",
        port=50063,
        side_port=9063,
        grpc_services=("pequod.diffusion.v1.DiffusionService",),
        proto_modules=("pequod.diffusion.v1.diffusion_pb2",),
    ),
    ServiceEntry(
        name="gan",
        port=50064,
        side_port=9064,
        grpc_services=("pequod.gan.v1.GanService",),
        proto_modules=("pequod.gan.v1.gan_pb2",),
    ),
    ServiceEntry(
        name="finetune",
        port=50065,
        side_port=9065,
        grpc_services=("pequod.finetune.v1.DatasetService", "pequod.finetune.v1.FineTuneService"),
        proto_modules=("pequod.finetune.v1.dataset_pb2", "pequod.finetune.v1.finetune_pb2"),
        has_models=False,
    ),
)


def entry(name: str) -> ServiceEntry:
    """The entry called ``name``. Raises KeyError with the known names."""
    for service in SERVICES:
        if service.name == name:
            return service
    raise KeyError(f"no service {name!r}; services: {', '.join(s.name for s in SERVICES)}")
