"""What holds for all tests: none asserts a time, and those that take long begin first."""

from __future__ import annotations

import functools
import importlib
import os
import sys

import pytest
from hypothesis import settings

from services.common.threads import thread_variables

# Programs that run as another user, such as PostgreSQL, are forked, and gRPC's own handlers of forks, meant
# for children that go on calling, end such a child before it begins. Read when gRPC is imported.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# Tests share the cores out among processes already: with a thread for each core in each of them, trainings
# took twice as long. Read when NumPy and torch are imported.
for _name, _value in thread_variables(1).items():
    os.environ.setdefault(_name, _value)

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

LONG = ("distributed", "e2e", "recipes", "finetune", "diffusion", "sampler", "tokenizer", "gan")
"""Folders whose files take minutes, the longest first."""


def _rank(item: pytest.Item) -> int:
    return next((place for place, folder in enumerate(LONG) if folder in item.path.parts), len(LONG))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the files out in this order; the last ones should be short."""
    items.sort(key=_rank)


def pytest_collection_finish() -> None:
    """Have PyTorch read ONNX's operators once for a process.

    It reads the source of all five hundred again for each export, a fifth of the time that a tiny one takes.
    """
    if "torch" not in sys.modules:
        return
    registry = importlib.import_module("torch.onnx._internal.exporter._registration").ONNXRegistry
    registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))
