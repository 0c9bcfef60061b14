"""What webhooks are still to be told. A delivery is a row from the moment that the state changed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from services.common.database.clock import now
from services.common.database.database import Database
from services.finetune.database.schema import DELIVERIES
from services.finetune.jobs.job import JobError
from services.finetune.jobs.states import State

PATIENCE = 24 * 3600.0
"""Seconds after which one that was never heard is given up."""
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 1800.0
_HOLD = 60.0
"""Seconds for which a delivery is its sender's; another one may try then."""


@dataclass(frozen=True)
class Delivery:
    """One message to one address."""

    delivery_id: str
    job_id: str
    url: str
    secret: str
    body: Mapping[str, Any]
    attempts: int
    """Before this one."""
    created_at: datetime


def enqueue(
    connection: Connection, job: Mapping[Any, Any], state: State, error: JobError | None, event: int
) -> None:
    """Part of the transaction in which ``job``, a row as it was before, becomes ``state``."""
    hooks = [each for each in job["spec"]["webhooks"] if state.value in each["states"]]
    if not hooks:
        return
    body = {
        "job_id": job["job_id"],
        "tenant": job["tenant"],
        "event": event,
        "state": state.name,
        "recipe": job["recipe"],
        "model": job["model"],
        "step": job["step"],
        "labels": job["spec"]["labels"],
        "error": None if error is None else {"reason": error.reason, "message": error.message},
    }
    common = {"tenant": job["tenant"], "job_id": job["job_id"], "body": json.dumps(body), "attempts": 0}
    fresh = [
        {**common, "delivery_id": str(uuid.uuid4()), "url": each["url"], "secret": each["secret"]}
        for each in hooks
    ]
    connection.execute(insert(DELIVERIES).values([{**each, **_times()} for each in fresh]))


class Outbox:
    """Deliveries that are due. Blocking; any number of processes may take from it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self) -> Delivery | None:
        """One that is due, ours for a minute; None when there is none."""

        def task(connection: Connection) -> Delivery | None:
            query = select(DELIVERIES).where(DELIVERIES.c.due_at <= now()).order_by(DELIVERIES.c.due_at)
            found = connection.execute(query.limit(1)).mappings().one_or_none()
            if found is None:
                return None
            mine = DELIVERIES.c.delivery_id == found["delivery_id"]
            held = {"due_at": now(_HOLD), "attempts": found["attempts"] + 1}
            connection.execute(update(DELIVERIES).where(mine).values(held))
            body = json.loads(found["body"])
            names = ("delivery_id", "job_id", "url", "secret", "attempts", "created_at")
            return Delivery(body=body, **{name: found[name] for name in names})

        return self._database.write(task)

    def heard(self, delivery: Delivery) -> None:
        """It need not be sent again."""
        mine = DELIVERIES.c.delivery_id == delivery.delivery_id
        self._database.write(lambda connection: connection.execute(delete(DELIVERIES).where(mine)))

    def unheard(self, delivery: Delivery) -> bool:
        """Try it again later; False when it is given up."""
        pause = min(_FIRST_PAUSE * 2**delivery.attempts, _LONGEST_PAUSE)
        mine = DELIVERIES.c.delivery_id == delivery.delivery_id

        def task(connection: Connection) -> bool:
            late = delete(DELIVERIES).where(mine, DELIVERIES.c.created_at < now(-PATIENCE))
            if connection.execute(late).rowcount:
                return False
            connection.execute(update(DELIVERIES).where(mine).values(due_at=now(pause)))
            return True

        return self._database.write(task)

    def waiting(self) -> float | None:
        """Seconds until the next one is due; None when there is none."""
        query = select(DELIVERIES.c.due_at, now().label("now")).order_by(DELIVERIES.c.due_at).limit(1)
        found = self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if found is None else max(0.0, (found.due_at - found.now).total_seconds())


def _times() -> dict[str, Any]:
    return {"due_at": now(), "created_at": now()}
