"""Whether a job can run: its data set is there and of the kind, its base fits, something can run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.common import tenants
from services.common.errors import Code, ServiceError, invalid
from services.common.store import ModelStore
from services.common.store.ownership import name_taken
from services.finetune.catalogue.entries import recipe
from services.finetune.catalogue.recipe import Recipe
from services.finetune.datasets.dataset import State as DataState
from services.finetune.datasets.faults import not_ready
from services.finetune.datasets.records import DatasetRecords
from services.finetune.jobs.job import Executor, Spec
from services.finetune.waiting import wait


@dataclass(frozen=True)
class Findings:
    """What is known once nothing speaks against a job."""

    waits_for: str = ""
    """What must happen before it can be queued; "" when nothing must."""
    dataset_digest: str = ""


class Examiner:
    """Blocking. ``accelerators``: what each executor that there is has in all."""

    def __init__(
        self, datasets: DatasetRecords, store: ModelStore, accelerators: Mapping[Executor, int]
    ) -> None:
        self._datasets, self._store, self._accelerators = datasets, store, accelerators

    def examine(self, tenant: str, spec: Spec) -> Findings:
        """Raises ServiceError naming the field for what will not do."""
        known = recipe(spec.recipe)
        self._executor(spec)
        self._base(known, tenant, spec.base)
        self._name(tenant, spec.name)
        main = self._dataset(known, tenant, "spec.dataset_id", spec.dataset_id)
        other = self._dataset(known, tenant, "spec.validation_dataset_id", spec.validation_dataset_id)
        return replace(main, waits_for=main.waits_for or other.waits_for)

    def default_accelerators(self, known: Recipe, executor: Executor) -> int:
        """One where the recipe gains by it and there is one."""
        return min(1, self._accelerators.get(executor, 0)) if known.accelerates else 0

    def _executor(self, spec: Spec) -> None:
        there = self._accelerators.get(spec.executor)
        if there is None:
            raise invalid(
                "spec.executor",
                f"{spec.executor} cannot be used: this service has no client of the Kubernetes API (package "
                "'kubernetes'); jobs run as child processes, executor local",
            )
        if spec.resources.accelerators > there:
            wanted = spec.resources.accelerators
            raise invalid("spec.resources.accelerators", f"must be in 0..{there} here, got {wanted}")

    def _name(self, tenant: str, name: str) -> None:
        if name and wait(self._store.owner_of(name)) not in (None, tenant):
            raise name_taken(name)

    def _base(self, known: Recipe, tenant: str, reference: str) -> None:
        if known.base is None:
            if reference:
                raise invalid(
                    "spec.base", f"recipe {known.name} starts from no model, got {reference[:80]!r}"
                )
            return
        if not reference:
            wanted = f"a {known.base.kind} of family {' or '.join(known.base.families)}"
            raise invalid("spec.base", f"required by recipe {known.name}: {wanted}; it is empty")
        if reference.startswith("hf:"):
            return  # fetched when the job is prepared: that may take an hour
        try:
            with tenants.acting_for(tenant):
                version = wait(self._store.resolve(reference))
        except ServiceError as error:
            if error.code in (Code.INVALID_ARGUMENT, Code.NOT_FOUND):
                raise replace(error, message=f"spec.base: {error.message}") from None
            raise
        if why := known.base.refusal(version.manifest):
            raise invalid("spec.base", f"{version} {why}")

    def _dataset(self, known: Recipe, tenant: str, field: str, dataset_id: str) -> Findings:
        if not dataset_id:
            if known.reads and field == "spec.dataset_id":
                kinds = " or ".join(sorted(each.value for each in known.reads))
                raise invalid(field, f"required by recipe {known.name}, which reads {kinds}; it is empty")
            return Findings()
        if not known.reads:
            raise invalid(field, f"recipe {known.name} reads no data set, got {dataset_id[:80]!r}")
        dataset = self._datasets.get(tenant, dataset_id)
        if dataset.state is DataState.FAILED:
            raise not_ready(dataset_id, dataset.state.value, dataset.error)
        if dataset.state is not DataState.READY:
            return Findings(waits_for=f"data set {dataset_id} is {dataset.state.value}")
        if dataset.kind not in known.reads:
            kinds = " or ".join(sorted(each.value for each in known.reads))
            why = f"data set {dataset_id} holds {dataset.kind.value}; recipe {known.name} reads {kinds}"
            raise invalid(field, why)
        return Findings(dataset_digest=dataset.digest)
