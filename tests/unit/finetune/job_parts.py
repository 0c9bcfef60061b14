"""Jobs as callers have them: data, specs, and a wait for their end."""

from __future__ import annotations

import asyncio
import random

from services.finetune.jobs.job import Event, Job, Kind, Spec
from services.finetune.jobs.records import JobRecords
from services.finetune.jobs.states import ENDED, State

TENANT = "local"
_WORDS = [
    "the",
    "whale",
    "sea",
    "ship",
    "rose",
    "slowly",
    "nobody",
    "spoke",
    "a",
    "storm",
    "came",
    "on",
    "ahab",
    "looked",
    "at",
    "it",
]


def book(seed: int = 0, chapters: int = 9, words: int = 250) -> bytes:
    """A text in chapters, of few words, another for each seed."""
    dice = random.Random(seed)
    numerals = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")
    parts = []
    for numeral in numerals[:chapters]:
        sentences = [" ".join(dice.choices(_WORDS, k=8)).capitalize() + "." for _ in range(words // 8)]
        parts.append(f"{numeral}\n\n" + " ".join(sentences))
    return "\n\n".join(parts).encode()


TINY_LM = {
    **{"vocabulary": 300, "width": 32, "hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1},
    **{"window": 16, "batch": 2, "warm_up": 2, "evaluate_every": 1000, "baseline_order": 2},
}


async def reached(records: JobRecords, job_id: str, *states: State, seconds: float = 90) -> Job:
    """The job, once it is in one of ``states``, or has ended."""
    async with asyncio.timeout(seconds):
        while True:
            job = await asyncio.to_thread(records.get, TENANT, job_id)
            if job.state in (states or ENDED) or job.state in ENDED:
                return job
            await asyncio.sleep(0.05)


def events(records: JobRecords, job_id: str) -> list[Event]:
    """All of them; their numbers have no gap and no double."""
    found, job = records.events(TENANT, job_id, 0, 100_000)
    assert [each.number for each in found] == list(range(1, job.last_event + 1))
    return found


def walk(records: JobRecords, job_id: str) -> list[str]:
    """The states that it went through."""
    return [each.data["to"] for each in events(records, job_id) if each.kind is Kind.STATE]


def lm_spec(dataset_id: str, steps: int = 20, **fields) -> Spec:
    """A language model of some thousand weights."""
    known = {"recipe": "pretrain_lm", "dataset_id": dataset_id, "parameters": TINY_LM, "steps": steps}
    return Spec(**{**known, "seed": 1, "name": "tiny", **fields})
