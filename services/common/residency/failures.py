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
        yield
    except (KeyError, ValueError, OSError, SafetensorError) as error:
        raise ServiceError(
            Code.FAILED_PRECONDITION,
            Reason.LOAD_FAILED,
            f"model {version} cannot be loaded: {type(error).__name__}: {error}",
            resource=("model", str(version)),
        ) from error
