"""What every trace of a module needs: the packages, and to be the only one in the process."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import threading
import warnings
from collections.abc import Iterator

from services.common.errors import unsupported

_PACKAGES = ("torch", "onnx", "onnxscript")
_one_at_a_time = threading.Lock()  # torch keeps the state of a trace in globals


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Hold the process's only trace. FAILED_PRECONDITION, UNSUPPORTED, where a package is missing."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise unsupported(f"exporting needs {', '.join(missing)}: install the 'train' extra")
    with _one_at_a_time:
        yield


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The exporters warn about their own insides; what counts is the parity check that follows."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
