"""What a job must know of a recipe before it runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from services.common.errors import invalid
from services.common.store import Kind as ModelKind
from services.common.store import Manifest
from services.finetune.datasets.dataset import Kind as DataKind
from services.finetune.recipes.options import MOST_STEPS, parameters_of

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_SHOWN = 80


@dataclass(frozen=True)
class Base:
    """What kind of a model a recipe starts from."""

    kind: ModelKind
    families: tuple[str, ...] = ()
    """Empty: any."""

    def refusal(self, manifest: Manifest) -> str:
        """Why a version is none; empty when it is one."""
        if manifest.kind is self.kind and (not self.families or manifest.family in self.families):
            return ""
        wanted = f"a {self.kind}" + (f" of family {' or '.join(self.families)}" if self.families else "")
        return f"is a {manifest.kind} of family {manifest.family!r}; the recipe starts from {wanted}"


@dataclass(frozen=True)
class Recipe:
    """A row of the catalogue."""

    name: str
    summary: str
    run: str
    """ "module:function", imported in the worker only."""
    options: type[DataclassInstance]
    reads: frozenset[DataKind] = frozenset()
    """Kinds of data sets; empty: it reads none."""
    base: Base | None = None
    presets: Mapping[str, DataclassInstance] = field(default_factory=dict)
    preset: str = ""
    """The one that holds where none is named; empty: the options' own defaults."""
    aids: Mapping[str, str] = field(default_factory=dict)
    """References of models that it looks with, by the option that takes their folder."""
    offers: bool = False
    """Whether it offers candidates on the way; others end with one."""
    stops: bool = True
    """Whether it hears ``wants_stop``; others are ended where they are, and begin anew."""
    accelerates: bool = True
    """Whether an accelerator makes it faster."""
    follow: str = ""
    """ "module:function" that the other processes of a team run, as ``torchrun`` starts one, each with an
    accelerator; empty: one process trains alone."""

    @property
    def has_steps(self) -> bool:
        """Whether its length is counted in steps."""
        return any(each.name == "steps" for each in fields(self.options))

    def read_preset(self, name: str) -> str:
        """The preset that holds. Raises INVALID_ARGUMENT listing the known."""
        if name and name not in self.presets:
            known = ", ".join(sorted(self.presets)) or "none"
            raise invalid(
                "spec.preset", f"recipe {self.name} has no preset {name[:_SHOWN]!r}; it has {known}"
            )
        return name or self.preset

    def read_steps(self, steps: int | None, preset: str) -> int:
        """Steps of a job, 0 for a recipe without. Raises INVALID_ARGUMENT."""
        if not self.has_steps:
            if steps is not None:
                raise invalid("spec.steps", f"recipe {self.name} has no steps")
            return 0
        if steps is None:
            return int(getattr(self.defaults(preset), "steps"))  # noqa: B009  # the type has no such field
        if not 1 <= steps <= MOST_STEPS:
            raise invalid("spec.steps", f"must be in 1..{MOST_STEPS}, got {steps}")
        return steps

    def read_parameters(self, given: Mapping[str, Any], preset: str) -> dict[str, Any]:
        """Every parameter by name: given, the preset's, or the default. Raises INVALID_ARGUMENT."""
        known = parameters_of(self.options)
        defaults = asdict(self.defaults(preset))
        values = {name: defaults[name] for name in known}
        for name, value in given.items():
            where = f"spec.parameters.{name[:_SHOWN]}"
            if name not in known:
                raise invalid(where, f"recipe {self.name} knows {self.described}")
            try:
                values[name] = known[name].read(value)
            except ValueError as error:
                raise invalid(where, str(error)) from None
        try:
            self.options(**values)
        except ValueError as error:
            raise invalid("spec.parameters", str(error)) from None
        return values

    def defaults(self, preset: str) -> DataclassInstance:
        """The options of a preset."""
        return self.presets[preset] if preset else self.options()

    @property
    def described(self) -> str:
        """Its parameters with their ranges and defaults, in a line."""
        known = parameters_of(self.options).values()
        return "; ".join(f"{each.name} ({each.limits}, default {each.default!r})" for each in known)
