"""The manifest of the Kubernetes Job that runs one attempt of a job; a pure function of what it is to be."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.finetune.jobs.claims import Claim
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings, is_label

Json = dict[str, Any]

JOB, EPOCH, TENANT, DATABASE, OWNER = (
    "pequod.io/job",
    "pequod.io/epoch",
    "pequod.io/tenant",
    "pequod.io/database",
    "pequod.io/owner",
)
"""Keys of labels; tenant and owner, whose names may be longer than a label, are annotations too."""
QUEUE = "kueue.x-k8s.io/queue-name"
WORK, SCRATCH = "/work", "/scratch"
"""Where a worker finds its folders: jobs' own, and what may be lost."""
GRACE_SECONDS = 120
"""That a worker has from SIGTERM on for its last step and checkpoint."""
_KEPT_SECONDS = 3600
"""After its end a Job stays for as long, with the logs of its Pod."""
_START_SECONDS = 3600
"""Beyond the longest run, for a node to be made and an image to be pulled, before Kubernetes ends a Job."""
_SECRETS = {
    "PEQUOD_DATABASE_URL": False,
    "AWS_ACCESS_KEY_ID": True,
    "AWS_SECRET_ACCESS_KEY": True,
    "AWS_SESSION_TOKEN": True,
    "HF_TOKEN": True,
}
"""Variables that come from the Secret; True: it may be missing there."""
_USER = 10001


@dataclass(frozen=True)
class Surroundings:
    """What is the same for all Jobs of an installation."""

    settings: ClusterSettings
    variables: Mapping[str, str]
    """What workers find in their environment besides secrets and folders."""
    database: str
    """Tells this installation's Jobs from those of another in the same namespace; a label's value."""


def name_of(claim: Claim) -> str:
    """Of the Job of a claim; always the same."""
    return f"{claim.job.job_id}-{claim.epoch}"


def manifest(claim: Claim, surroundings: Surroundings) -> Json:
    """As batch/v1 has it. Nothing in it is secret."""
    settings, spec = surroundings.settings, claim.job.spec
    labels = _labels(claim, surroundings)
    queue = spec.resources.queue or settings.queue
    job: Json = {
        "suspend": bool(queue),
        "completions": 1,
        "parallelism": 1,
        # An attempt is an epoch: whether another one follows is decided here, not by Kubernetes.
        "backoffLimit": 0,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": _FAILURES,
        "ttlSecondsAfterFinished": _KEPT_SECONDS,
        "template": {"metadata": {"labels": labels}, "spec": _pod(claim, surroundings)},
    }
    if spec.resources.max_seconds:
        job["activeDeadlineSeconds"] = spec.resources.max_seconds + _START_SECONDS
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name_of(claim),
            "labels": labels | ({QUEUE: queue} if queue else {}),
            "annotations": {TENANT: claim.job.tenant, OWNER: claim.owner},
        },
        "spec": job,
    }


_FAILURES: Json = {
    "rules": [
        # Preempted, drained, its node lost: told from a failure of its own by the condition.
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
}


def _labels(claim: Claim, surroundings: Surroundings) -> dict[str, str]:
    tenant = claim.job.tenant
    return {
        "app.kubernetes.io/name": "pequod-finetune-worker",
        "app.kubernetes.io/part-of": "pequod",
        "app.kubernetes.io/managed-by": "pequod-finetune",
        JOB: claim.job.job_id,
        EPOCH: f"{claim.epoch}",
        TENANT: tenant if is_label(tenant) else hashlib.sha256(tenant.encode()).hexdigest()[:16],
        DATABASE: surroundings.database,
    }


def _pod(claim: Claim, surroundings: Surroundings) -> Json:
    settings, wanted = surroundings.settings, claim.job.spec.resources
    pod: Json = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(claim, surroundings)],
        "volumes": _volumes(settings),
    }
    if settings.nodes:
        pod["nodeSelector"] = dict(settings.nodes)
    if wanted.accelerators:
        kind = wanted.accelerator_type or settings.accelerator
        pod["tolerations"] = [{"key": kind, "operator": "Exists", "effect": "NoSchedule"}]
    return pod


def _container(claim: Claim, surroundings: Surroundings) -> Json:
    settings = surroundings.settings
    return {
        "name": "worker",
        "image": settings.image,
        "command": command(claim, settings),
        "env": _environment(surroundings),
        "resources": _resources(claim, settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # What it said last, when it ended badly, stands in the Pod's status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": "work", "mountPath": WORK},
            {"name": "scratch", "mountPath": SCRATCH},
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "shm", "mountPath": "/dev/shm"},
        ],
    }


def command(claim: Claim, settings: ClusterSettings) -> list[str]:
    """One process, or one for each of several accelerators."""
    wanted = claim.job.spec.resources
    flags = {
        "job": claim.job.job_id,
        "tenant": claim.job.tenant,
        "owner": claim.owner,
        "epoch": claim.epoch,
        "threads": max(1, int((wanted.cpu_cores or settings.cpu_cores) / max(1, wanted.accelerators))),
        "device": "cuda" if wanted.accelerators else "cpu",
    }
    given = [part for name, value in flags.items() for part in (f"--{name}", f"{value}")]
    start = ["python"]
    if wanted.accelerators > 1:
        start = ["torchrun", "--standalone", "--nproc-per-node", f"{wanted.accelerators}"]
    return [*start, "-m", "services.finetune.worker", *given]


def _environment(surroundings: Surroundings) -> list[Json]:
    own = {
        "PEQUOD_FINETUNE_WORK": WORK,
        "PEQUOD_CACHE": f"{SCRATCH}/cache",
        "HOME": SCRATCH,
        "HF_HOME": f"{SCRATCH}/huggingface",
    }
    plain = {**surroundings.variables, **own}
    secret = surroundings.settings.secret
    return [
        *({"name": name, "value": value} for name, value in sorted(plain.items()) if name not in _SECRETS),
        *(
            {
                "name": name,
                "valueFrom": {"secretKeyRef": {"name": secret, "key": name, "optional": is_optional}},
            }
            for name, is_optional in _SECRETS.items()
        ),
    ]


def _resources(claim: Claim, settings: ClusterSettings) -> Json:
    """Memory and accelerators are what they are; of the CPU more may be used where it is idle."""
    wanted = claim.job.spec.resources
    fixed = {"memory": f"{wanted.memory_bytes or settings.memory_bytes}"}
    if wanted.accelerators:
        fixed[wanted.accelerator_type or settings.accelerator] = f"{wanted.accelerators}"
    millicores = math.ceil((wanted.cpu_cores or settings.cpu_cores) * 1000)
    return {"requests": {"cpu": f"{millicores}m", **fixed}, "limits": fixed}


def _volumes(settings: ClusterSettings) -> list[Json]:
    work: Json = {"emptyDir": {}}
    if settings.claim:
        work = {"persistentVolumeClaim": {"claimName": settings.claim}}
    return [
        {"name": "work", **work},
        {"name": "scratch", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
