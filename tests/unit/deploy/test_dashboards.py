"""The dashboards are those of their source, whole, and where Grafana finds them."""

from __future__ import annotations

import json

import pytest
import yaml

from deploy.grafana import build
from deploy.grafana.contents import DASHBOARDS
from services.common.catalogue import SERVICES
from tests.unit.deploy.queries import DASHBOARDS as FILES
from tests.unit.deploy.queries import ROOT, asked, every_query, panel_queries, registry


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_the_file_is_that_of_its_source(dashboard):
    assert (build.FOLDER / f"{dashboard.name}.json").read_text() == build.written(dashboard), (
        "run: make manifests"
    )


def test_there_is_one_for_the_whole_for_each_process_and_for_jobs():
    names = {"overview", "gateway", "jobs", *(service.name for service in SERVICES)}
    assert {file.stem for file in FILES} == names
    listed = yaml.safe_load((ROOT / "deploy/grafana/kustomization.yaml").read_text())
    (made,) = listed["configMapGenerator"]
    assert {name.removeprefix("dashboards/").removesuffix(".json") for name in made["files"]} == names


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_panels_are_whole_and_do_not_overlap(file):
    dashboard = json.loads(file.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"]
            assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_metric_is_shown_somewhere():
    """What nobody looks at need not be recorded."""
    shown = {name for file in FILES for _, query in panel_queries(file) for name in asked(query)}
    shown |= {name for query in every_query() for name in asked(query)}
    for collected in registry().collect():
        if collected.name.startswith("pequod_"):
            assert any(name.startswith(collected.name) for name in shown), f"{collected.name} is not shown"
