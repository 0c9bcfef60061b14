"""What services hold of their machine, beside what they may hold, for ``pequod status``."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.cli import output
from services.common.catalogue import MODEL_SERVICE

Json = Mapping[str, Any]
"""A ``pequod.model.v1.Resources`` as protobuf JSON: numbers of 64 bits are strings, 0 is left out."""

_SECONDS = 30


def resources(base: str) -> tuple[Sequence[Json], str]:
    """Of each service, and "", or nothing and why not. Shows the key in PEQUOD_API_KEY."""
    key = os.environ.get("PEQUOD_API_KEY")
    request = urllib.request.Request(
        f"{base}/{MODEL_SERVICE}/ListModels",
        data=json.dumps({"pageSize": 1, "resources": True}).encode(),
        headers={"content-type": "application/json", **({"authorization": f"Bearer {key}"} if key else {})},
    )
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as reply:
            return list(json.load(reply).get("resources", {}).get("services", [])), ""
    except urllib.error.HTTPError as error:
        with error:
            return [], _said(error)
    except (OSError, ValueError) as error:
        return [], str(error)


def table(found: Sequence[Json], why_not: str) -> None:
    """For people."""
    if why_not:
        output.note(f"What services hold is not known: {why_not}")
    if found:
        output.table(("service", "memory", "store", "cache", "GPU memory"), map(_row, found))
    if trainers := [each for each in found if "checkpoints" in _disks(each)]:
        output.table(("service", "data sets", "work", "of it checkpoints"), map(_training_row, trainers))


def _row(each: Json) -> Sequence[str]:
    disks = _disks(each)
    folders = [_disk(disks.get(name)) for name in ("store", "cache")]
    return (str(each["service"]), _memory(each), *folders, _gpus(each.get("gpus", [])))


def _training_row(each: Json) -> Sequence[str]:
    disks = _disks(each)
    data = _disk(disks.get("datasets"), " a tenant")
    return (
        str(each["service"]),
        data,
        _disk(disks.get("work")),
        _size(disks["checkpoints"].get("usedBytes")),
    )


def _disks(each: Json) -> Mapping[str, Json]:
    return {disk["name"]: disk for disk in each.get("disks", [])}


def _memory(each: Json) -> str:
    """Who has no budget has no models: what it holds are jobs at work."""
    if not each.get("memoryBudgetBytes"):
        return f"{_size(each.get('memoryBytes'))} by jobs"
    return _of(each.get("memoryBytes"), each.get("memoryBudgetBytes"))


def _disk(disk: Json | None, whose: str = "") -> str:
    """What lies behind a URL has no disk here."""
    if disk is None:
        return ""
    most = f" of {_size(disk['limitBytes'])}{whose}" if disk.get("limitBytes") else ""
    return f"{_size(disk.get('usedBytes'))}{most}, {_size(disk.get('freeBytes'))} free"


def _gpus(gpus: Iterable[Json]) -> str:
    return "; ".join(
        f"{each.get('index', 0)}: {_of(each.get('usedBytes'), each.get('totalBytes'))}"
        + (f", {_size(each['budgetBytes'])} for this service" if each.get("budgetBytes") else "")
        for each in gpus
    )


def _of(used: str | None, most: str | None) -> str:
    return f"{_size(used)} of {_size(most)}"


def _size(count: str | None) -> str:
    return output.size(int(count or 0))


def _said(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {error.code}"
