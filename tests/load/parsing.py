"""Scenario files: TOML, checked to the last name."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.load.actions import DEEDS, PROCESSES
from tests.load.calls.embed import Embed
from tests.load.calls.face import Face
from tests.load.calls.image import Image
from tests.load.calls.reading import Reading
from tests.load.calls.text import Text
from tests.load.calls.tokens import Tokens
from tests.load.rules import Rule, read_rule
from tests.load.scenario import Capacity, Group, Kind, Load, Phase, Planned, Scenario

FOLDER = Path(__file__).parent / "scenarios"
KINDS = {"text": Text, "embed": Embed, "tokens": Tokens, "image": Image, "face": Face}
_LOAD = re.compile(r"(?P<number>\d+(?:\.\d+)?) ?(?P<unit>/s|of capacity|callers)")


class ScenarioError(Exception):
    """A scenario file that cannot be used; says where and what is known."""


def names() -> list[str]:
    """Those that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_scenario(name: str) -> Scenario:
    """The scenario called so, or of the file ``name``. Raises ScenarioError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise ScenarioError(
            f"no scenario {name!r}; there are {', '.join(names())}, or a path to a .toml file"
        )
    try:
        return parse(path.stem, tomllib.loads(path.read_text()))
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{path}: {error}") from None
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def parse(name: str, given: Mapping[str, Any]) -> Scenario:
    """The scenario of a parsed file. Raises ScenarioError."""
    _known(given, {field.name for field in dataclasses.fields(Scenario)} - {"name"}, "scenario")
    calls = {each: _call(each, body) for each, body in _table(given, "calls").items()}
    groups = {each: _group(each, body, calls) for each, body in _table(given, "groups").items()}
    phases = [_phase(body, groups) for body in _tables(given, "phases")]
    _check_phases(phases)
    capacity = _capacity(given["capacity"], groups) if "capacity" in given else None
    if capacity is None and any(load.share for phase in phases for load in phase.load.values()):
        raise ScenarioError("a load is a share of the capacity, and there is no [capacity]")
    actions = [_action(body, phases) for body in _tables(given, "actions")]
    _typed("rules", given.get("rules", []), list)
    rules = [_rule(text, groups, calls, phases, capacity) for text in given.get("rules", [])]
    plain = {key: given[key] for key in _PLAIN if key in given}
    for key, value in plain.items():
        _typed(key, value, _PLAIN[key])
    for key, value in plain.get("environment", {}).items():
        _typed(f"environment.{key}", value, str)
    return Scenario(
        name=name,
        calls=calls,
        groups=groups,
        phases=phases,
        rules=rules,
        capacity=capacity,
        actions=actions,
        **{"about": "", **plain},
    )


_PLAIN: dict[str, type | tuple[type, ...]] = {
    "about": str,
    "keyed": bool,
    "measure_freeing": bool,
    "seed": int,
    "allowed_lag": (int, float),
    "environment": dict,
}


def _call(name: str, body: Mapping[str, Any]) -> Kind:
    kind = KINDS.get(str(body.get("kind", name)))
    if kind is None:
        raise ScenarioError(f"calls.{name}: no kind {body.get('kind', name)!r}; kinds: {', '.join(KINDS)}")
    given = {key: value for key, value in body.items() if key != "kind"}
    if given.get("door", "grpc") not in kind.DOORS:
        raise ScenarioError(f"calls.{name}.door: no {given['door']!r} here; doors: {', '.join(kind.DOORS)}")
    if "reading" in given:
        given["reading"] = _made(Reading, given["reading"], f"calls.{name}.reading")
    made: Kind = _made(kind, given, f"calls.{name}")
    return made


def _group(name: str, body: Mapping[str, Any], calls: Mapping[str, Kind]) -> Group:
    group = _made(Group, body, f"groups.{name}")
    for call, weight in group.mix.items():
        _typed(f"groups.{name}.mix.{call}", weight, (int, float))
    for call in group.mix:
        _among(call, calls, f"groups.{name}.mix", "call")
    if not any(weight > 0 for weight in group.mix.values()) or min(group.mix.values()) < 0:
        raise ScenarioError(f"groups.{name}.mix: weights are from 0 on, one of them above it")
    return group


def _phase(body: Mapping[str, Any], groups: Mapping[str, Group]) -> Phase:
    place = f"phases.{body.get('name', '?')}"
    phase = _made(Phase, {"load": {}, **body}, place)
    for group in phase.load:
        _among(group, groups, f"{place}.load", "group")
    loads = {group: _load(text, f"{place}.load.{group}") for group, text in phase.load.items()}
    return dataclasses.replace(phase, load=loads)


def _check_phases(phases: Sequence[Phase]) -> None:
    if not phases:
        raise ScenarioError("has no [[phases]]")
    known: set[str] = set()
    for phase in phases:
        if phase.seconds <= 0:
            raise ScenarioError(f"phases.{phase.name}.seconds: is {phase.seconds:g}, it must be above 0")
        if phase.name in known:
            raise ScenarioError(f"phases: two phases are called {phase.name!r}")
        known.add(phase.name)


def _load(text: Any, place: str) -> Load:
    found = _LOAD.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ScenarioError(f"{place}: {text!r}; it is like '20 /s', '0.7 of capacity' or '16 callers'")
    number = float(found["number"])
    if found["unit"] == "callers":
        return Load(callers=int(number))
    return Load(rate=number) if found["unit"] == "/s" else Load(share=number)


def _capacity(body: Mapping[str, Any], groups: Mapping[str, Group]) -> Capacity:
    capacity = _made(Capacity, body, "capacity")
    _among(capacity.group, groups, "capacity.group", "group")
    for callers in capacity.callers:
        _typed("capacity.callers", callers, int)
    if min(capacity.callers, default=0) < 1:
        raise ScenarioError(f"capacity.callers: is {capacity.callers}, numbers from 1 on are expected")
    return capacity


def _action(body: Mapping[str, Any], phases: Sequence[Phase]) -> Planned:
    action = _made(Planned, body, "actions")
    _among(action.phase, [phase.name for phase in phases], "actions.phase", "phase")
    _among(action.do, DEEDS, "actions.do", "deed")
    _among(action.process, PROCESSES, "actions.process", "process")
    return action


def _rule(
    text: str,
    groups: Mapping[str, Group],
    calls: Mapping[str, Kind],
    phases: Sequence[Phase],
    capacity: Capacity | None,
) -> Rule:
    try:
        rule = read_rule(text)
    except ValueError as error:
        raise ScenarioError(f"rules: {error}") from None
    for figure in rule.figures():
        if figure.name == "peak" and capacity is None:
            raise ScenarioError(f"rules: {text!r} needs [capacity]")
        if figure.phase:
            _among(figure.phase, [phase.name for phase in phases], f"rules: {text!r}", "phase")
        if figure.of and figure.of_process:
            _among(figure.of, PROCESSES, f"rules: {text!r}", "process")
        elif figure.of:
            _among(figure.of, [*groups, *calls], f"rules: {text!r}", "group or call")
    return rule


def _made(kind: Any, body: Any, place: str) -> Any:
    """``kind`` with the fields in ``body``. Raises ScenarioError for unknown, missing and mistyped ones."""
    if not isinstance(body, dict):
        raise ScenarioError(f"{place}: is {body!r}, a table is expected")
    fields = {each.name: each for each in dataclasses.fields(kind)}
    _known(body, fields, place)
    missing = [n for n, each in fields.items() if _required(each) and n not in body]
    if missing:
        raise ScenarioError(f"{place}: lacks {', '.join(missing)}")
    for key, value in body.items():
        _typed(f"{place}.{key}", value, _TYPES.get(str(fields[key].type), object))
    try:
        return kind(**body)
    except ValueError as error:
        raise ScenarioError(f"{place}: {error}") from None


_TYPES: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "float": (int, float),
    "float | None": (int, float),
    "Sequence[int]": list,
    "Mapping[str, float]": dict,
    "Mapping[str, Load]": dict,
}


def _required(each: dataclasses.Field[Any]) -> bool:
    return each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING


def _typed(place: str, value: Any, kind: type | tuple[type, ...]) -> None:
    wrong = isinstance(value, bool) and kind not in (bool, object)
    if wrong or not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        raise ScenarioError(
            f"{place}: is {value!r}, {' or '.join(each.__name__ for each in kinds)} is expected"
        )


def _table(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = given.get(name)
    if not isinstance(found, dict) or not found:
        raise ScenarioError(f"has no [{name}.…]")
    for key, body in found.items():
        if not isinstance(body, dict):
            raise ScenarioError(f"{name}.{key}: is {body!r}, a table is expected")
    return found


def _tables(given: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = given.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ScenarioError(f"{name}: tables [[{name}]] are expected")
    return found


def _known(given: Mapping[str, Any], known: Any, place: str) -> None:
    for key in given:
        _among(key, known, place, "field")


def _among(name: str, known: Any, place: str, what: str) -> None:
    if name not in known:
        raise ScenarioError(f"{place}: no {what} {name!r}; there are {', '.join(sorted(known))}")
