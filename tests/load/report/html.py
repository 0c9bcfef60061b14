"""The report: one file that needs no other, in light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from tests.load.core.outcome import Kind
from tests.load.core.summary import Summary
from tests.load.report.svg import Mark, Points, lines, stacks
from tests.load.result import Result
from tests.load.rules import Held
from tests.load.watching.samples import Sample

Samples = Sequence[Sequence[Sample]]
"""Of one process, in order; those that one point of a chart stands for are together."""
STYLE = Path(__file__).with_name("style.css")
_MOST_POINTS = 300
"""Of a line; what lasts longer is drawn in stretches of several seconds."""
_BEFORE = ("asked", "asked /s", "right /s")
_TIMES = ("p50 ms", "p90", "p99", "p99.9", "most", "first p50", "first p99", "gap p99", "lag p99")


def page(result: Result) -> str:
    """The whole document."""
    scenario, machine = result.scenario, result.machine
    title = f"Load: {scenario.name}"
    verdict = "<span class=good>passed</span>" if result.passed else "<span class=bad>not passed</span>"
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{_text(title)}</title>"
        f'<meta name=viewport content="width=device-width"><style>{STYLE.read_text()}</style>'
        f"<h1>{_text(title)}</h1><p>{_text(scenario.about)}</p><p class=verdict>{verdict}</p>"
        f"<p class=soft>{_text(machine.when)}; {machine.cores} cores, of which other programs took "
        f"{machine.foreign:.2f}; Python {_text(machine.python)}; seed {scenario.seed}. Times count from when "
        "a call was due. Percentiles are exact, over right answers and late calls.</p>"
        f"{_faults(result)}{_rules(result.held)}{_charts(result)}{_calls(result)}{_processes(result)}"
        f"{_rest(result)}</html>\n"
    )


def _text(value: object) -> str:
    return html.escape(str(value))


def number(value: float | None, digits: int = 1) -> str:
    """A figure as it is shown; a dash for none."""
    if value is None or math.isnan(value):
        return "-"
    return f"{value:,.{digits}f}"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    """Cells are markup already."""
    top = "".join(f"<th>{each}</th>" for each in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class=wide><table class="{kind}"><tr>{top}</tr>{body}</table></div>'


def _faults(result: Result) -> str:
    if not result.faults:
        return ""
    told = "; ".join(result.faults)
    return f"<p class=bad>Invalid, so that its times say nothing: {_text(told)}.</p>"


def _rules(held: Sequence[Held]) -> str:
    if not held:
        return ""
    words = {
        True: "<span class=good>holds</span>",
        False: "<span class=bad>broken</span>",
        None: "not measured",
    }
    rows = [
        (words[each.held], _text(each.rule), number(each.found, 2), number(each.limit, 2)) for each in held
    ]
    return f"<h2>Rules</h2>{_table(('', 'rule', 'found', 'limit'), rows, 'words')}"


def _charts(result: Result) -> str:
    every = _every(result)
    # Behind the last phase nothing is due any more.
    seconds = [each for each in result.by_time(every) if each.at < result.seconds]
    length, middle = float(max(every * len(seconds), 1)), every / 2
    marks = [Mark(begin, name, "phase") for name, (begin, _) in result.spans.items()]
    marks += [Mark(event.at, event.what, "event") for event in result.events]
    kinds = [kind for kind in Kind if any(kind in each.kinds for each in seconds)]
    due = "by the second it was due" if every == 1 else f"by the {every} seconds in which it was due"
    times: dict[str, Points] = {
        name: [(each.at + middle, 1e3 * getattr(each, name)) for each in seconds] for name in ("p50", "p99")
    }
    rates: dict[str, Points] = {
        "asked": [(each.at + middle, each.asked / every) for each in seconds],
        "right answers": [(each.at + middle, each.done / every) for each in seconds],
    }
    drawn = [
        lines(f"Milliseconds to an answer, {due}", times, length, marks, log=True),
        lines("Calls a second", rates, length, marks),
        stacks(
            f"How calls ended, {due}",
            [str(kind) for kind in kinds],
            [[each.kinds.get(kind, 0) for kind in kinds] for each in seconds],
            length,
            marks,
        ),
        _of_processes(result, "Cores at work", _cores, length, marks),
        _of_processes(result, "Memory, MiB", _memory, length, marks),
        _of_processes(result, "Most waiting in queues", _waiting, length, marks),
    ]
    return f"<h2>Over time</h2>{''.join(drawn)}"


def _of_processes(
    result: Result,
    title: str,
    points: Callable[[Samples], Points],
    length: float,
    marks: Sequence[Mark],
) -> str:
    every = _every(result)
    found = {
        name: points([each.samples[at : at + every] for at in range(0, len(each.samples), every)])
        for name, each in result.watched.items()
    }
    shown = {name: each for name, each in found.items() if not all(math.isnan(value) for _, value in each)}
    return lines(title, shown, length, marks)


def _every(result: Result) -> int:
    """Seconds that one point of a chart stands for."""
    return max(1, math.ceil(result.seconds / _MOST_POINTS))


def _cores(samples: Samples) -> Points:
    steps = pairwise(each[-1] for each in samples)
    return [(b.at, (b.cpu_seconds - a.cpu_seconds) / max(b.at - a.at, 1e-3)) for a, b in steps]


def _memory(samples: Samples) -> Points:
    return [(each[-1].at, each[-1].memory_mib) for each in samples]


def _waiting(samples: Samples) -> Points:
    depths = [(each[-1].at, [s.queue_depth for s in each if s.queue_depth is not None]) for each in samples]
    return [(at, max(found, default=math.nan)) for at, found in depths]


def _calls(result: Result) -> str:
    rows = [("all", result.summary())]
    for phase in result.spans:
        groups = result.scenario.groups
        names = ("",) if len(groups) == 1 else ("", *groups)
        rows += [(f"{phase}{f', {name}' * bool(name)}", result.summary(name, phase)) for name in names]
    rows += [(f"call {name}", result.summary(name)) for name in result.scenario.calls]
    whole = result.summary()
    kinds = [kind for kind in Kind if whole.count(kind)]
    head, codes = ("", *_BEFORE, *map(str, kinds), *_TIMES), whole.codes
    told = f"<p>{_text(', '.join(f'{code} {count}' for code, count in codes.items()))}</p>" if codes else ""
    table = _table(head, [(_text(name), *_row(found, kinds)) for name, found in rows])
    return f"<h2>Calls</h2>{table}{told}{_worst(result)}"


def _row(found: Summary, shown: Sequence[Kind]) -> list[str]:
    times = found.latency
    whole = [str(found.asked), number(found.rate), number(found.goodput)]
    kinds = [str(found.count(kind)) for kind in shown]
    spans = (times.p50, times.p90, times.p99, times.p999, times.most, found.first.p50, found.first.p99)
    return [*whole, *kinds, *(number(1e3 * each) for each in (*spans, found.gaps.p99, found.lag.p99))]


def _worst(result: Result) -> str:
    """Words of some calls that went wrong."""
    bad = [o for o in result.outcomes if o.kind in (Kind.WRONG, Kind.FAILED)][:10]
    rows = [
        (
            f"{o.due:.2f} s",
            _text(o.call),
            _text(o.verdict.code),
            _text(o.verdict.detail[:200]),
            o.verdict.request_id,
        )
        for o in bad
    ]
    head = ("due", "call", "code", "what", "request id")
    return f"<h2>The first that went wrong</h2>{_table(head, rows, 'words')}" if rows else ""


def _processes(result: Result) -> str:
    rows = []
    for name, watched in result.watched.items():
        memory = [each.memory_mib for each in watched.samples]
        first, last = (memory[0], memory[-1]) if memory else (None, None)
        cpu = watched.cpu_between(0.0, math.inf)
        rows.append(
            (
                _text(name),
                str(result.calls_of(name)),
                number(cpu, 2),
                number(result.cpu_per_call(name), 0),
                number(first),
                number(last),
            )
        )
    head = ("process", "calls", "CPU s", "CPU µs a call", "MiB at first", "MiB at last")
    return f"<h2>Processes</h2>{_table(head, rows)}"


def _rest(result: Result) -> str:
    parts = []
    if result.events:
        rows = [(f"{e.at:.1f} s", _text(e.what), number(e.took)) for e in result.events]
        parts.append(f"<h2>What was done</h2>{_table(('at', 'what', 'ready after s'), rows, 'words')}")
    if result.freed:
        freed = [
            (e.service, e.how, number(1e3 * e.seconds), number(1e3 * e.step_seconds), number(1e3 * e.beyond))
            for e in result.freed
        ]
        head = ("service", "callers", "work stopped after ms", "a step ms", "beyond a step ms")
        parts.append(f"<h2>When nobody waits any more</h2>{_table(head, freed)}")
    return "".join(parts)
