"""What the status of a Job and of its Pod says of a run; pure functions of the API's JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.common.errors import Reason
from services.finetune.orchestrator.executors.contract import Ending, Standing, View

Json = Mapping[str, Any]

_BY_KUBELET = "TerminationByKubelet"
_STUCK = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)
"""Why a container waits that may wait for ever."""
_IMAGE = frozenset(each for each in _STUCK if "Image" in each)
_SIGNALS = 128
"""Exit codes above it: ended by a signal."""


def is_over(job: Json) -> bool:
    """Whether Kubernetes will do nothing more for it."""
    return bool(_condition(job, "Failed") or _condition(job, "Complete"))


def view(job: Json, pods: Sequence[Json]) -> View:
    """A run as its Job and Pods show it."""
    if is_over(job):
        failed = _condition(job, "Failed")
        return _ended(failed, pods) if failed else View(Standing.ENDED)
    if job["spec"].get("suspend"):
        return View(Standing.WAITING, "waits for Kueue to admit it: its Job is suspended")
    if any(_has_begun(each) for each in pods):
        return View(Standing.WORKING)
    return View(Standing.WAITING, _waits_for(pods))


def stuck(pods: Sequence[Json]) -> View | None:
    """As what a run has ended once there is no more patience with its container; None: it just waits."""
    for status in _containers(pods):
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            is_image = waiting["reason"] in _IMAGE
            reason = Reason.IMAGE_UNAVAILABLE if is_image else Reason.LAUNCH_FAILED
            return View(
                Standing.ENDED, f"its container does not start: {_said(waiting)}", Ending.HOPELESS, reason
            )
    return None


def last_words(pods: Sequence[Json]) -> str:
    """What a container that ended badly wrote last; for logs, not for callers."""
    return "".join(each.get("message") or "" for each in _terminated(pods))


def _ended(failed: Json, pods: Sequence[Json]) -> View:
    """Most telling first."""
    if failed.get("reason") == "DeadlineExceeded":
        return _hopeless(Reason.TIME_LIMIT, "it was in the cluster for longer than it may run")
    if any(each.get("reason") == "OOMKilled" for each in _terminated(pods)):
        why = f"it needs more memory than its limit of {_limit(pods)}: give it more resources.memory_bytes"
        return _hopeless(Reason.OUT_OF_MEMORY, why)
    if any(_is_evicted(each) for each in pods):
        # By its node, perhaps for what it used itself: that counts as an attempt.
        why = next(_said(each["status"]) for each in pods if _is_evicted(each))
        return View(Standing.ENDED, f"its node evicted it: {why}")
    if failed.get("reason") == "PodFailurePolicy":
        # The policy's one rule; the Pod itself is often gone by now.
        targets = [target for each in pods if (target := _condition(each, "DisruptionTarget"))]
        why = _said(targets[0] if targets else failed)
        return View(Standing.ENDED, f"its Pod had to leave: {why}", Ending.DISPLACED, Reason.EVICTED)
    for terminated in _terminated(pods):
        return View(Standing.ENDED, f"its process ended with {_code(terminated['exitCode'])}")
    return View(Standing.ENDED, f"its Pod is gone: {_said(failed)}")


def _is_evicted(pod: Json) -> bool:
    target = _condition(pod, "DisruptionTarget") or {}
    return target.get("reason") == _BY_KUBELET or pod.get("status", {}).get("reason") == "Evicted"


def _hopeless(reason: Reason, message: str) -> View:
    return View(Standing.ENDED, message, Ending.HOPELESS, reason)


def _has_begun(pod: Json) -> bool:
    statuses = list(_containers([pod]))
    return any(not each.get("state", {}).get("waiting") for each in statuses if each.get("state"))


def _waits_for(pods: Sequence[Json]) -> str:
    if not pods:
        return "waits for a Pod"
    for status in _containers(pods):
        waiting = status.get("state", {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            return f"its container does not start yet: {_said(waiting)}"
    for pod in pods:
        scheduled = next((each for each in _conditions(pod) if each["type"] == "PodScheduled"), None)
        if scheduled is not None and scheduled["status"] == "False":
            return f"waits for a node: {_said(scheduled)}"
    return "its container is being made"


def _limit(pods: Sequence[Json]) -> str:
    limits = (
        each.get("resources", {}).get("limits", {}).get("memory")
        for pod in pods
        for each in pod.get("spec", {}).get("containers", ())
    )
    return f"{next(filter(None, limits), 'unknown size')} bytes"


def _code(code: int) -> str:
    return f"exit code {code}" + (f" (signal {code - _SIGNALS})" if code > _SIGNALS else "")


def _terminated(pods: Sequence[Json]) -> Iterator[Json]:
    for status in _containers(pods):
        terminated = status.get("state", {}).get("terminated")
        if terminated and (terminated.get("exitCode") or terminated.get("reason") == "OOMKilled"):
            yield terminated


def _containers(pods: Sequence[Json]) -> Iterator[Json]:
    for pod in pods:
        yield from pod.get("status", {}).get("containerStatuses") or ()


def _condition(item: Json, kind: str) -> Json | None:
    return next(
        (each for each in _conditions(item) if each["type"] == kind and each["status"] == "True"), None
    )


def _conditions(item: Json) -> Sequence[Json]:
    return item.get("status", {}).get("conditions") or ()


def _said(given: Json) -> str:
    """Reason and message, as far as there are any."""
    return ": ".join(filter(None, (given.get("reason"), given.get("message")))) or "no reason is given"
