"""The catalogue: what jobs may ask of recipes, refused with the fields and ranges named."""

from __future__ import annotations

import importlib
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from services.common.errors import Code, ServiceError
from services.finetune.catalogue.entries import RECIPES, recipe
from services.finetune.recipes.options import parameters_of
from services.finetune.recipes.task import Task


def refusal(call, *arguments):
    with pytest.raises(ServiceError) as refused:
        call(*arguments)
    assert refused.value.code is Code.INVALID_ARGUMENT
    (violation,) = refused.value.violations
    return violation.field, violation.description


def test_an_unknown_recipe_lists_the_known():
    field, why = refusal(recipe, "knit")
    assert field == "spec.recipe"
    assert all(name in why for name in RECIPES)
    assert refusal(recipe, "") == ("spec.recipe", f"required; it is empty; recipes are {', '.join(RECIPES)}")


@pytest.mark.parametrize(
    ("given", "field", "says"),
    [
        ({"order": 99}, "order", "must be 1..32, got 99"),
        ({"order": 2.5}, "order", "must be 1..32, got 2.5"),
        ({"order": True}, "order", "must be 1..32, got True"),
        ({"order": "3"}, "order", "must be 1..32, got '3'"),
        ({"order": float("nan")}, "order", "must be 1..32, got nan"),
        ({"alphabet": "runes"}, "alphabet", "must be shannon, text, got 'runes'"),
        ({"depth": 1}, "depth", "recipe ngram knows order (1..32, default 5); alphabet (shannon, text"),
    ],
)
def test_a_bad_parameter_is_named_with_what_it_may_be(given, field, says):
    where, why = refusal(recipe("ngram").read_parameters, given, "")
    assert where == f"spec.parameters.{field}"
    assert says in why


def test_parameters_are_filled_in_and_come_as_the_options_want_them():
    assert recipe("ngram").read_parameters({"order": 3.0}, "") == {"order": 3, "alphabet": "shannon"}
    given = recipe("pretrain_lm").read_parameters({"adam_rate": 1}, "")
    assert given["adam_rate"] == 1.0
    assert isinstance(given["adam_rate"], float)


def test_sizes_that_make_no_network_are_refused():
    field, why = refusal(recipe("pretrain_lm").read_parameters, {"width": 100, "heads": 3, "kv_heads": 1}, "")
    assert field == "spec.parameters"
    assert "multiple" in why


def test_steps_are_those_of_a_recipe_that_has_them():
    assert recipe("pretrain_lm").read_steps(None, "") == 1840
    assert recipe("ngram").read_steps(None, "") == 0
    assert refusal(recipe("ngram").read_steps, 3, "")[0] == "spec.steps"
    assert refusal(recipe("pretrain_lm").read_steps, 0, "")[0] == "spec.steps"
    assert refusal(recipe("ngram").read_preset, "fast")[0] == "spec.preset"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_runs_and_its_defaults_are_within_its_ranges(name):
    known = recipe(name)
    module, _, function = known.run.partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    for preset in ("", *known.presets):
        filled = known.read_parameters(known.read_parameters({}, preset), preset)
        task = Task(Path("work"), parameters=filled, steps=known.read_steps(None, preset))
        options = task.options(known.options)
        for field in fields(options):
            if field.name in parameters_of(options):
                assert getattr(options, field.name) == getattr(known.defaults(preset), field.name)


def test_the_catalogue_is_read_without_torch():
    code = "import sys, services.finetune.catalogue.entries; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
