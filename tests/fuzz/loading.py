"""Files of models, read as the pool of models has them read."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from services.common.errors import Code, Reason, ServiceError
from services.common.residency.failures import load_failures
from services.common.store import Kind, ModelVersion
from services.common.store.manifest import Manifest


@contextlib.contextmanager
def loaded() -> Iterator[None]:
    """LOAD_FAILED for whatever a loader raises, a library's panic too, as the pool of models has it."""
    version = ModelVersion(Manifest(name="a", version="1", kind=Kind.ADAPTER, family="f"), "user")
    try:
        with load_failures(version):
            yield
    except (ServiceError, AssertionError):
        raise
    except Exception as error:
        what = f"model {version} cannot be loaded: {type(error).__name__}"
        raise ServiceError(Code.FAILED_PRECONDITION, Reason.LOAD_FAILED, what) from error
