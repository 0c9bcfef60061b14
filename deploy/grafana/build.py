"""Writes the dashboards as Grafana reads them: python -m deploy.grafana.build."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deploy.grafana.contents import DASHBOARDS
from deploy.grafana.panels import Dashboard, Panel

FOLDER = Path(__file__).parent / "dashboards"
_WIDTH = 24
_HEIGHT = 8
_A_ROW = 4
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}

Json = dict[str, Any]


def main() -> None:
    """Write every file anew."""
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(written(dashboard))


def written(dashboard: Dashboard) -> str:
    """The dashboard's file."""
    return json.dumps(rendered(dashboard), indent=2) + "\n"


def rendered(dashboard: Dashboard) -> Json:
    """The dashboard as Grafana's JSON."""
    return {
        "uid": f"pequod-{dashboard.name}",
        "title": dashboard.title,
        "tags": ["pequod"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_source_variable()]},
        "links": [
            {
                "type": "dashboards",
                "tags": ["pequod"],
                "title": "Pequod",
                "asDropdown": True,
                "keepTime": True,
            }
        ],
        "annotations": {"list": []},
        "panels": list(_panels(dashboard.rows)),
    }


def _source_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "hide": 0,
    }


def _panels(rows: Sequence[tuple[str, Sequence[Panel]]]) -> Iterator[Json]:
    number, top = 1, 0
    for title, panels in rows:
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": top, "w": _WIDTH, "h": 1},
        }
        top += 1
        for index, panel in enumerate(panels):
            width = _WIDTH // min(_A_ROW, len(panels))
            column, line = index % _A_ROW, index // _A_ROW
            at = {"x": column * width, "y": top + line * _HEIGHT, "w": width, "h": _HEIGHT}
            yield _panel(panel, number + 1 + index, at)
        number += 1 + len(panels)
        top += -(-len(panels) // _A_ROW) * _HEIGHT


def _panel(panel: Panel, number: int, at: Json) -> Json:
    targets = [
        {"refId": chr(ord("A") + index), "expr": expr, "legendFormat": legend, "datasource": _SOURCE}
        for index, (expr, legend) in enumerate(panel.queries)
    ]
    return {
        "id": number,
        "type": "stat" if panel.is_number else "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": at,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": _number_options() if panel.is_number else _curve_options(),
    }


def _number_options() -> Json:
    return {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}, "colorMode": "none"}


def _curve_options() -> Json:
    return {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


if __name__ == "__main__":
    main()
