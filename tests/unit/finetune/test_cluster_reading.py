"""What statuses of Jobs and Pods mean, as Kubernetes' documentation shows them."""

from __future__ import annotations

import pytest

from services.common.errors import Reason
from services.finetune.orchestrator.executors.cluster import reading
from services.finetune.orchestrator.executors.contract import Ending, Standing

FAILED = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "reached"}
POLICY = {**FAILED, "reason": "PodFailurePolicy", "message": "Pod a/b has condition DisruptionTarget"}
LATE = {**FAILED, "reason": "DeadlineExceeded"}
COMPLETE = {"type": "Complete", "status": "True"}


def job(*conditions, suspend=False):
    return {"spec": {"suspend": suspend}, "status": {"conditions": list(conditions)}}


def pod(state=None, *conditions, **status):
    containers = [{"name": "worker", "state": state}] if state else []
    limits = {"containers": [{"resources": {"limits": {"memory": "1000"}}}]}
    about = {"conditions": list(conditions), "containerStatuses": containers, **status}
    return {"metadata": {}, "spec": limits, "status": about}


def target(reason):
    return {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "why"}


def ended(code, reason="Error"):
    return {"terminated": {"exitCode": code, "reason": reason, "message": "last words"}}


FULL = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/9 nodes"}


@pytest.mark.parametrize(
    ("given", "pods", "standing", "says"),
    [
        (job(suspend=True), [], Standing.WAITING, "suspended"),
        (job(), [], Standing.WAITING, "waits for a Pod"),
        (job(), [pod()], Standing.WAITING, "being made"),
        (job(), [pod(None, FULL)], Standing.WAITING, "waits for a node: Unschedulable: 0/9 nodes"),
        (job(), [pod({"waiting": {"reason": "ContainerCreating"}})], Standing.WAITING, "being made"),
        (job(), [pod({"waiting": {"reason": "ErrImagePull"}})], Standing.WAITING, "does not start yet"),
        (job(), [pod({"running": {}})], Standing.WORKING, ""),
        (job(), [pod(ended(1))], Standing.WORKING, ""),
        (job(COMPLETE), [pod(ended(0))], Standing.ENDED, ""),
        (job(COMPLETE), [], Standing.ENDED, ""),
    ],
)
def test_how_far_a_run_is(given, pods, standing, says):
    seen = reading.view(given, pods)
    assert seen.standing is standing
    assert says in seen.message
    assert bool(seen.message) == bool(says)


@pytest.mark.parametrize(
    ("given", "pods", "ending", "reason", "says"),
    [
        (
            FAILED,
            [pod(ended(137, "OOMKilled"))],
            Ending.HOPELESS,
            Reason.OUT_OF_MEMORY,
            "limit of 1000 bytes",
        ),
        (LATE, [], Ending.HOPELESS, Reason.TIME_LIMIT, "longer than it may"),
        (FAILED, [pod(ended(139))], Ending.DIED, "", "exit code 139 (signal 11)"),
        (FAILED, [pod(ended(2))], Ending.DIED, "", "exit code 2"),
        (FAILED, [], Ending.DIED, "", "its Pod is gone: BackoffLimitExceeded: reached"),
        (POLICY, [pod(None, target("EvictionByEvictionAPI"))], Ending.DISPLACED, Reason.EVICTED, "API: why"),
        (POLICY, [], Ending.DISPLACED, Reason.EVICTED, "has condition DisruptionTarget"),
        (POLICY, [pod(None, target("TerminationByKubelet"))], Ending.DIED, "", "its node evicted it"),
        (FAILED, [pod(None, reason="Evicted", message="disk")], Ending.DIED, "", "evicted it: Evicted: disk"),
    ],
)
def test_how_a_run_ended(given, pods, ending, reason, says):
    seen = reading.view(job(given), pods)
    assert (seen.standing, seen.ending, seen.reason) == (Standing.ENDED, ending, reason)
    assert says in seen.message
    assert "last words" not in seen.message


@pytest.mark.parametrize(
    ("waiting", "reason"),
    [
        ("ImagePullBackOff", Reason.IMAGE_UNAVAILABLE),
        ("InvalidImageName", Reason.IMAGE_UNAVAILABLE),
        ("CreateContainerConfigError", Reason.LAUNCH_FAILED),
        ("ContainerCreating", None),
    ],
)
def test_what_may_wait_for_ever(waiting, reason):
    seen = reading.stuck([pod({"waiting": {"reason": waiting, "message": "of it"}})])
    assert (seen.reason if seen else None) == reason


def test_last_words_are_those_of_a_container_that_ended_badly():
    assert reading.last_words([pod(ended(1))]) == "last words"
    assert reading.last_words([pod(ended(0, "Completed"))]) == ""
