"""Opens graphs whose weights are handed over in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from services.common.errors import Code, Reason, ServiceError


def open_session(graph: Path, weights: Mapping[str, npt.NDArray[Any]], threads: int) -> ort.InferenceSession:
    """A session on the CPU. FAILED_PRECONDITION, LOAD_FAILED, when ONNX Runtime cannot make one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # fatal only: failures are raised, and reported once, here
    # Within a step the threads spin, which is twice as fast for one sequence; between steps they sleep.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    values = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in weights.values()]
    options.add_external_initializers(list(weights), values)
    try:
        return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the binding's own classes share no base
        raise ServiceError(
            Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, f"{graph.name} cannot be opened: {error}"
        ) from error
