"""How the service runs jobs, as its environment says."""

from __future__ import annotations

from dataclasses import dataclass

from services.common.settings import setting


@dataclass(frozen=True)
class JobSettings:
    """What jobs on this machine may take."""

    jobs: int = setting(
        1, env="PEQUOD_FINETUNE_JOBS", help="Jobs that run here at a time.", minimum=0, maximum=1024
    )
    job_threads: int = setting(
        0,
        env="PEQUOD_FINETUNE_JOB_THREADS",
        help="Threads of the CPU for each job; 0: the cores, shared between as many as run at a time.",
        minimum=0,
        maximum=1024,
    )
    accelerators: int = setting(
        -1,
        env="PEQUOD_FINETUNE_ACCELERATORS",
        help="Accelerators for jobs; -1: those that are found.",
        minimum=-1,
        maximum=1024,
    )
    nice: int = setting(
        10,
        env="PEQUOD_FINETUNE_NICE",
        help="How much lower the priority of jobs is than that of the services.",
        minimum=0,
        maximum=19,
    )
    job_hours: float = setting(
        168.0,
        env="PEQUOD_FINETUNE_JOB_HOURS",
        help="Longest run of a job that names no limit, in hours.",
        minimum=0.001,
        maximum=87_600,
    )
    private_webhooks: bool = setting(
        False,
        env="PEQUOD_WEBHOOK_PRIVATE",
        help="Set to 1 to let webhooks lead to private addresses, and to http://.",
    )
