"""Models as messages: their tensors, configuration, statistics and place in the index."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from google.protobuf.message import Message

from gateway.kserve.described import ANY, TensorSpec
from gateway.kserve.kind import Kind
from gateway.kserve.statistics import Counts, Spent
from inference import (
    DataType,
    InferStatistics,
    ModelConfig,
    ModelMetadataResponse,
    ModelStatistics,
    RepositoryIndexResponse,
    ServerMetadataResponse,
    StatisticDuration,
)
from pequod.model.v1 import Model, ModelState

EXTENSIONS = (
    *("binary_tensor_data", "generate", "model_configuration", "model_repository", "parameters"),
    "statistics",
)
BACKEND = "pequod"
MOST_ROWS = ".most_rows"
"""After an input's name: the parameter that says its largest first size."""
READY = "READY"
_STATES = {
    ModelState.MODEL_STATE_READY: READY,
    ModelState.MODEL_STATE_PULLING: "LOADING",
    ModelState.MODEL_STATE_LOADING: "LOADING",
    ModelState.MODEL_STATE_UNLOADING: "UNLOADING",
}
_UNLOADED = "unloaded; the next inference loads it"
_CONFIG_NAMES = {"BYTES": "STRING"}


def server_message() -> ServerMetadataResponse:
    """What the server is."""
    return ServerMetadataResponse(name="pequod", version=version("pequod"), extensions=EXTENSIONS)


def metadata_message(name: str, versions: Sequence[str], kind: Kind) -> ModelMetadataResponse:
    """A model's inputs and outputs; ``name`` is what it was asked for by."""
    described = kind.description
    return ModelMetadataResponse(
        name=name,
        versions=versions,
        platform=described.platform,
        inputs=[_metadata(spec) for spec in described.inputs],
        outputs=[_metadata(spec) for spec in described.outputs],
    )


def config_message(name: str, kind: Kind) -> ModelConfig:
    """A model's configuration: no batch dimension beside its tensors' own first one."""
    described = kind.description
    config = ModelConfig(name=name, platform=described.platform, backend=BACKEND, max_batch_size=0)
    config.version_policy.latest.num_versions = 1
    config.model_transaction_policy.decoupled = described.decoupled
    for spec in described.inputs:
        config.input.add(name=spec.name, data_type=_type(spec), dims=spec.shape, optional=spec.optional)
        if spec.most < ANY:
            config.parameters[f"{spec.name}{MOST_ROWS}"].string_value = str(spec.most)
    for spec in described.outputs:
        config.output.add(name=spec.name, data_type=_type(spec), dims=spec.shape)
    return config


def statistics_message(model: Model, counts: Counts) -> ModelStatistics:
    """What a version did."""
    stats = InferStatistics(
        success=_spent(counts.success),
        fail=_spent(counts.fail),
        queue=_spent(counts.queue),
        compute_input=_spent(counts.compute_input),
        compute_infer=_spent(counts.compute_infer),
        compute_output=_spent(counts.compute_output),
    )
    return ModelStatistics(
        name=model.name,
        version=model.version,
        last_inference=counts.last_inference_ms,
        inference_count=counts.inferences,
        execution_count=counts.executions,
        inference_stats=stats,
    )


def index_message(model: Model) -> RepositoryIndexResponse.ModelIndex:
    """A model's place in the index."""
    state = state_of(model)
    reason = "" if state == READY else model.error or (_UNLOADED if state == "UNAVAILABLE" else "")
    return RepositoryIndexResponse.ModelIndex(
        name=model.name, version=model.version, state=state, reason=reason
    )


def state_of(model: Model) -> str:
    """Triton's word for where a model stands."""
    return _STATES.get(model.state, "UNAVAILABLE")


def plain(message: Message) -> dict[str, Any]:
    """A message as Triton's REST has it: names as in the proto, every field, and numbers as numbers."""
    return {
        field.name: _plain_field(message, field)
        for field in message.DESCRIPTOR.fields
        if not (field.has_presence and not message.HasField(field.name))
    }


def _plain_field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return {key: plain(each) for key, each in value.items()}
    if field.is_repeated:
        return [_plain_value(field, each) for each in value]
    return _plain_value(field, value)


def _plain_value(field: Any, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    return field.enum_type.values_by_number[value].name if field.enum_type is not None else value


def _metadata(spec: TensorSpec) -> ModelMetadataResponse.TensorMetadata:
    return ModelMetadataResponse.TensorMetadata(name=spec.name, datatype=spec.datatype, shape=spec.shape)


def _type(spec: TensorSpec) -> DataType.ValueType:
    return DataType.Value(f"TYPE_{_CONFIG_NAMES.get(spec.datatype, spec.datatype)}")


def _spent(spent: Spent) -> StatisticDuration:
    return StatisticDuration(count=spent.count, ns=spent.ns)
