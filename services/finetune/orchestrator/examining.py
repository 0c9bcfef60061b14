"""Whether a job can run: its data set is there and of the kind, its base fits, something can run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from services.common import tenants
from services.common.errors import Code, ServiceError, invalid
from services.common.store import ModelStore
from services.common.store.ownership import name_taken
from services.finetune.catalogue.entries import RECIPES, recipe
from services.finetune.catalogue.recipe import Recipe
from services.finetune.datasets.dataset import State as DataState
from services.finetune.datasets.faults import not_ready
from services.finetune.datasets.records import DatasetRecords
from services.finetune.jobs.job import Executor, Promotion, Resources, Spec
from services.finetune.orchestrator.executors.cluster.settings import is_label, is_qualified
from services.finetune.orchestrator.executors.contract import Terms
from services.finetune.waiting import wait

_OFF = (
    "this service makes no Kubernetes Jobs: PEQUOD_FINETUNE_KUBERNETES_IMAGE names no image for them; jobs "
    "run as child processes, executor local"
)


@dataclass(frozen=True)
class Findings:
    """What is known once nothing speaks against a job."""

    waits_for: str = ""
    """What must happen before it can be queued; "" when nothing must."""
    dataset_digest: str = ""


class Examiner:
    """Blocking. ``terms``: of each executor that there is."""

    def __init__(self, datasets: DatasetRecords, store: ModelStore, terms: Mapping[Executor, Terms]) -> None:
        self._datasets, self._store, self._terms = datasets, store, terms
        self.executors = frozenset(terms)
        """Whose jobs can be examined here: another service of the same database may have more."""

    def examine(self, tenant: str, spec: Spec) -> Findings:
        """Raises ServiceError naming the field for what will not do."""
        known = recipe(spec.recipe)
        self._executor(known, spec)
        self._base(known, tenant, spec.base)
        self._name(tenant, spec.name)
        main = self._dataset(known, tenant, "spec.dataset_id", spec.dataset_id)
        other = self._dataset(known, tenant, "spec.validation_dataset_id", spec.validation_dataset_id)
        return replace(main, waits_for=main.waits_for or other.waits_for)

    def usual_resources(self, known: Recipe, executor: Executor) -> Resources:
        """What a job gets that asks for nothing: one accelerator where the recipe gains by it."""
        terms = self._terms.get(executor, Terms())
        accelerators = min(1, terms.accelerators) if known.accelerates else 0
        return Resources(accelerators, terms.accelerator_type, queue=terms.queue)

    def _executor(self, known: Recipe, spec: Spec) -> None:
        terms, wanted = self._terms.get(spec.executor), spec.resources.accelerators
        if terms is None or terms.refusal:
            why = terms.refusal if terms else _OFF
            raise invalid("spec.executor", f"{spec.executor} cannot be used: {why}")
        if wanted > terms.accelerators:
            raise invalid(
                "spec.resources.accelerators", f"must be in 0..{terms.accelerators} here, got {wanted}"
            )
        if terms.is_remote:
            self._remote(known, spec, terms)

    @staticmethod
    def _remote(known: Recipe, spec: Spec, terms: Terms) -> None:
        """What only matters to a worker on another machine."""
        wanted = spec.resources
        if wanted.accelerators > 1 and not known.follow:
            teams = ", ".join(each.name for each in RECIPES.values() if each.follow)
            why = (
                f"must be 0 or 1 for recipe {known.name}, got {wanted.accelerators}; more are used by {teams}"
            )
            raise invalid("spec.resources.accelerators", why)
        if wanted.accelerators and not is_qualified(wanted.accelerator_type):
            why = f"{wanted.accelerator_type!r} is no name of a resource, such as nvidia.com/gpu"
            raise invalid("spec.resources.accelerator_type", why)
        if wanted.queue and not is_label(wanted.queue):
            raise invalid("spec.resources.queue", f"{wanted.queue!r} is no name of a Kueue queue")
        if spec.base.startswith("file:"):
            why = "names a folder of this machine, which a Pod does not see; publish it in the store"
            raise invalid("spec.base", f"{spec.base[:80]!r} {why}")
        if spec.promotion is Promotion.MANUAL and not terms.keeps_files:
            why = (
                "must be BEST: checkpoints of a Pod are gone with it, where PEQUOD_FINETUNE_KUBERNETES_CLAIM "
                "names no volume for them"
            )
            raise invalid("spec.output.promotion", why)

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
