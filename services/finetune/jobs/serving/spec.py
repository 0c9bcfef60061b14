"""Reads what a job is to do: every field checked, the one at fault named, defaults filled in."""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format

from pequod.finetune import v1
from services.common.errors import invalid
from services.common.rpc.fields import whole
from services.common.store.reference import DEFAULT_ALIAS, check_alias, check_name
from services.finetune.catalogue.entries import recipe
from services.finetune.catalogue.recipe import Recipe
from services.finetune.jobs.job import Executor, Resources, Spec, Webhook
from services.finetune.jobs.serving.enums import EXECUTOR_OF, PROMOTION_OF, STATE_OF
from services.finetune.jobs.states import ENDED
from services.finetune.recipes.options import MOST_STEPS
from services.finetune.request_fields import read_enum, read_id, read_labels
from services.finetune.webhooks.addresses import Addresses

_MOST_SEED = 2**40
"""Recipes make one seed a step of it, which must be a number of 64 bits."""
_MOST_BYTES, _MOST_BASE = 256 * 1024, 1024
"""Of a spec, and of the reference of a model, a path among them."""
_MOST_HOOKS, _MOST_URL = 8, 2000
_SECRET = (16, 256)
_DEFAULT_KEEP = 5


class SpecReader:
    """Reads specs as this service would run them."""

    def __init__(self, addresses: Addresses, resources: Callable[[Recipe, Executor], Resources]) -> None:
        """``resources``: what a recipe gets of an executor that is asked for nothing else."""
        self._addresses, self._resources = addresses, resources

    def read(self, given: v1.JobSpec) -> Spec:
        """Raises INVALID_ARGUMENT. A name that is not said stays empty: it is the job's to find."""
        if (size := given.ByteSize()) > _MOST_BYTES:
            raise invalid("spec", f"has {size:,} bytes, at most {_MOST_BYTES:,}")
        if len(given.base) > _MOST_BASE:
            raise invalid("spec.base", f"has {len(given.base):,} characters, at most {_MOST_BASE}")
        known = recipe(given.recipe)
        preset = known.read_preset(given.preset)
        parameters = _parameters(given)
        executor: Executor = read_enum("spec.executor", given.executor, EXECUTOR_OF)
        every = whole("spec.checkpoint_every", given.checkpoint_every, 0, MOST_STEPS)
        return Spec(
            recipe=known.name,
            base=given.base,
            dataset_id=_dataset("spec.dataset_id", given.dataset_id),
            validation_dataset_id=_dataset("spec.validation_dataset_id", given.validation_dataset_id),
            preset=preset,
            parameters=known.read_parameters(parameters, preset),
            steps=known.read_steps(given.steps if given.HasField("steps") else None, preset),
            seed=_seed(given),
            checkpoint_every=every,
            keep_checkpoints=whole("spec.keep_checkpoints", given.keep_checkpoints, 0, 100) or _DEFAULT_KEEP,
            patience=whole("spec.patience", given.patience, 0, MOST_STEPS),
            name=check_name(given.output.name, "spec.output.name") if given.output.name else "",
            alias=check_alias(given.output.alias or DEFAULT_ALIAS, "spec.output.alias"),
            promotion=read_enum("spec.output.promotion", given.output.promotion, PROMOTION_OF),
            executor=executor,
            resources=_resources(given.resources, self._resources(known, executor)),
            webhooks=self._webhooks(given),
            priority=whole("spec.priority", given.priority, -100, 100),
            labels=read_labels("spec.labels", dict(given.labels)),
        )

    def _webhooks(self, given: v1.JobSpec) -> tuple[Webhook, ...]:
        if len(given.webhooks) > _MOST_HOOKS:
            raise invalid("spec.webhooks", f"are {len(given.webhooks)}, at most {_MOST_HOOKS}")
        return tuple(self._webhook(f"spec.webhooks[{n}]", each) for n, each in enumerate(given.webhooks))

    def _webhook(self, field: str, given: v1.Webhook) -> Webhook:
        if len(given.url) > _MOST_URL:
            raise invalid(f"{field}.url", f"has {len(given.url)} characters, at most {_MOST_URL}")
        if why := self._addresses.refusal(given.url):
            raise invalid(f"{field}.url", why)
        least, most = _SECRET
        if not least <= len(given.secret) <= most:
            what = f"has {len(given.secret)} characters; it must have {least}..{most}"
            raise invalid(f"{field}.secret", what)
        if len(given.states) > len(STATE_OF):
            raise invalid(f"{field}.states", f"are {len(given.states)}, at most {len(STATE_OF)}")
        states = [read_enum(f"{field}.states", each, STATE_OF) for each in given.states]
        return Webhook(given.url, given.secret, tuple(states) or tuple(sorted(ENDED)))


def asked(given: v1.JobSpec) -> str:
    """Hash of what was asked for, before defaults were filled in."""
    return hashlib.sha256(given.SerializeToString(deterministic=True)).hexdigest()


def _parameters(given: v1.JobSpec) -> dict[str, Any]:
    """As JSON has them: a protobuf can hold numbers that are none."""
    try:
        return dict(json_format.MessageToDict(given.parameters))
    except ValueError:
        raise invalid("spec.parameters", "hold NaN or infinity, which are no numbers") from None


def _dataset(field: str, text: str) -> str:
    return read_id(field, text, "ds") if text else ""


def _seed(given: v1.JobSpec) -> int:
    if not given.HasField("seed"):
        return secrets.randbelow(2**31)
    return whole("spec.seed", given.seed, 0, _MOST_SEED)


def _resources(given: v1.Resources, usual: Resources) -> Resources:
    """``usual``: for what is not said."""
    if not (math.isfinite(given.cpu_cores) and 0 <= given.cpu_cores <= 1024):
        raise invalid("spec.resources.cpu_cores", f"must be in 0..1024, got {given.cpu_cores:g}")
    wanted = given.accelerators if given.HasField("accelerators") else usual.accelerators
    return Resources(
        accelerators=whole("spec.resources.accelerators", wanted, 0, 1024),
        accelerator_type=given.accelerator_type[:128] or usual.accelerator_type,
        cpu_cores=given.cpu_cores,
        memory_bytes=whole("spec.resources.memory_bytes", given.memory_bytes, 0, 2**50),
        queue=given.queue[:128] or usual.queue,
        max_seconds=whole("spec.resources.max_seconds", given.max_seconds, 0, 10**9),
    )
