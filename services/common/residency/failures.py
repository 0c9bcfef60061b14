"""What a loader makes of files that are no model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from safetensors import SafetensorError

from services.common.errors import Code, Reason, ServiceError
from services.common.store import ModelVersion


@contextlib.contextmanager
def load_failures(version: ModelVersion) -> Iterator[None]:
    """What such files give as LOAD_FAILED naming the version and what is wrong with them."""
    try:
        with panics(version):
            yield
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise _failed(version, f"{type(error).__name__}: {error}") from error


@contextlib.contextmanager
def panics(version: ModelVersion) -> Iterator[None]:
    """A panic of a library in Rust (tokenizers, safetensors) as LOAD_FAILED.

    PyO3 raises it past everything that catches ``Exception``, in a class that no module names.
    """
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":
            raise
        raise _failed(version, f"a library that reads its files gave up: {error}") from error


def _failed(version: ModelVersion, why: str) -> ServiceError:
    return ServiceError(
        Code.FAILED_PRECONDITION,
        Reason.LOAD_FAILED,
        f"model {version} cannot be loaded: {why}",
        resource=("model", str(version)),
    )
