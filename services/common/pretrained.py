"""Models of Hugging Face directories with every weight in place, for export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn


def load_pretrained(kind: Any, folder: Path, unused: Sequence[str] = ()) -> nn.Module:
    """The model of the class ``kind`` in ``folder``, in 32 bits.

    transformers draws weights at random where a checkpoint lacks them; here that is an error, but for
    weights whose names begin like one of ``unused``. Raises ValueError naming what does not fit.
    """
    logs: Any = transformers.utils.logging  # untyped
    logs.disable_progress_bar()
    logs.set_verbosity_error()
    try:
        model, report = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are reported below, by name
        )
    except (OSError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise ValueError(f"its weights do not fit its config.json: {_first_line(error)}") from None
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(tuple(unused)))
    mismatched = sorted(str(each[0]) for each in report["mismatched_keys"])
    if missing or mismatched:
        raise ValueError(
            f"its weights do not fit its config.json: missing {missing[:5]}, "
            f"of another shape {mismatched[:5]}"
        )
    return model  # type: ignore[no-any-return]


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
