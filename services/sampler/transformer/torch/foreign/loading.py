"""Reads a model of Transformers from its directory, after asking whether it can be stepped here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch

from services.sampler.transformer.model.directory import Description
from services.sampler.transformer.torch.foreign import experts
from services.sampler.transformer.torch.foreign.model import NAME, ForeignModel, attention, refusal

_KINDS = frozenset({"full_attention", "sliding_attention"})
"""Layers whose past is keys and values, and nothing else."""


def load(
    folder: Path, description: Description, dtype: torch.dtype, device: torch.device
) -> tuple[ForeignModel, int]:
    """The model in ``folder`` and its window. Raises ValueError naming what is wrong or cannot be run."""
    from transformers import AttentionInterface, AutoModelForCausalLM
    from transformers.integrations.moe import ExpertsInterface
    from transformers.utils.logging import disable_progress_bar

    config = read_config(folder, description)
    model_class = _class_of(config)
    name = description.model_type
    if not getattr(model_class, "_supports_attention_backend", False):
        raise refusal(name, "its code does not go through Transformers' attention interface")
    if "position_ids" not in inspect.signature(model_class.forward).parameters:
        raise refusal(name, "its code is not told positions")
    disable_progress_bar()  # type: ignore[no-untyped-call]
    AttentionInterface.register(NAME, attention)
    options: dict[str, Any] = {}
    if device.type == "cpu" and model_class._can_set_experts_implementation():
        ExpertsInterface.register(experts.NAME, experts.padded_experts)
        options["experts_implementation"] = experts.NAME
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=NAME,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # they are named below
            output_loading_info=True,
            **options,
        )
    except Exception as error:  # damaged or misshapen files give many kinds, from several libraries
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(f"Transformers cannot read the model: {first}") from error
    model, report = loaded
    _check_complete(report)
    foreign = ForeignModel(model.eval().requires_grad_(False).to(device), device)
    return foreign, length_of(config)


def read_config(folder: Path, description: Description) -> Any:
    """Transformers' configuration of the model. Raises ValueError naming what cannot be run."""
    from transformers import AutoConfig
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    name = description.model_type
    if name not in CONFIG_MAPPING:
        raise ValueError(
            f"no family runs the architecture {name!r}, and Transformers does not know it either"
        )
    if description.config.get("quantization_config"):
        raise ValueError("quantised checkpoints are not read")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise ValueError(f"config.json cannot be read: {error}") from error
    text = config.get_text_config()
    strange = sorted(set(getattr(text, "layer_types", None) or ()) - _KINDS)
    if strange:
        raise refusal(name, f"it has layers of the kind {strange[0]!r}")
    if config.is_encoder_decoder:
        raise refusal(name, "it has an encoder")
    return config


def length_of(config: Any) -> int:
    """Positions that the model can tell apart. Raises ValueError when its configuration does not say.

    Models with two sets of angles (longrope) take those of short texts, so that a position is turned alike
    whatever comes after it.
    """
    text = config.get_text_config()
    length = getattr(text, "max_position_embeddings", None)
    if not isinstance(length, int) or length < 1:
        raise ValueError("config.json lacks max_position_embeddings")
    rope = getattr(text, "rope_parameters", None) or {}
    if rope.get("rope_type") == "longrope":
        length = min(length, int(rope.get("original_max_position_embeddings", length)))
    return length


def _class_of(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        found = AutoModelForCausalLM._model_mapping[type(config)]
    except KeyError:
        raise refusal(config.model_type, "it is no causal language model") from None
    model_class: Any = found[0] if isinstance(found, tuple) else found
    if model_class._is_stateful:
        raise refusal(config.model_type, "it keeps a recurrent state")
    return model_class


def _check_complete(report: dict[str, Any]) -> None:
    """Every weight must have come from the files."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise ValueError(f"the safetensors files lack {missing[0]}")
    if report["mismatched_keys"]:
        name, stored, wanted = sorted(report["mismatched_keys"])[0]
        raise ValueError(f"{name} is {list(stored)}, and config.json asks for {list(wanted)}")
    if report.get("error_msgs"):
        raise ValueError(f"the safetensors files cannot be read: {report['error_msgs'][0]}")
