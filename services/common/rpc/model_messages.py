"""Makes the message of a model version, as the store knows it."""

from __future__ import annotations

from google.protobuf import json_format

from pequod.model import v1 as pb
from services.common.store import Kind, ModelVersion


def model_message(version: ModelVersion) -> pb.Model:
    """Without what only a service knows that serves it: its state and its memory."""
    manifest = version.manifest
    model = pb.Model(
        name=version.name,
        version=version.version,
        kind=kind_of(version),
        family=manifest.family,
        aliases=version.aliases,
        files=[pb.ModelFile(**entry.model_dump()) for entry in manifest.files],
        inputs=[pb.TensorSpec(**spec.model_dump()) for spec in manifest.inputs],
        outputs=[pb.TensorSpec(**spec.model_dump()) for spec in manifest.outputs],
        license=manifest.license,
        training_data=manifest.training_data,
        recipe=manifest.recipe,
        parent=manifest.parent,
        metrics=manifest.metrics,
        digest=version.digest,
        tenant=manifest.tenant,
        layer=version.layer,
    )
    json_format.ParseDict(manifest.model_dump(mode="json")["config"], model.config)
    model.create_time.FromDatetime(manifest.created)
    return model


def kind_of(version: ModelVersion) -> pb.ModelKind.ValueType:
    """Its kind as the contract has it."""
    return pb.ModelKind.Value(f"MODEL_KIND_{Kind(version.manifest.kind).name}")
