"""Rules of Prometheus: well formed, true on made-up series, asking for what is exported, in the runbook."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy.prometheus import build
from services.common.catalogue import SERVICES
from tests.unit.deploy.queries import (
    OF_PROMETHEUS,
    PROMETHEUS,
    ROOT,
    alerts,
    asked,
    every_query,
    exported,
    recorded,
    rules,
)

CASES = sorted((Path(__file__).parent / "rules").glob("*.yaml"))
SECTION = re.compile(r"^### (\w+)\n(.*?)(?=^##|\Z)", re.MULTILINE | re.DOTALL)


def promtool(*arguments, cwd=ROOT):
    """Runs it; its output. Skips the test where it is not installed."""
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    done = subprocess.run(
        ["promtool", *map(str, arguments)], cwd=cwd, capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_rules_are_well_formed():
    files = [PROMETHEUS / "recording.yaml", PROMETHEUS / "alerts.yaml"]
    assert "SUCCESS" in promtool("check", "rules", "--lint-fatal", *files)


def test_the_configuration_is_well_formed():
    promtool("check", "config", PROMETHEUS / "prometheus.yaml")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_ring_when_they_should_and_only_then(case):
    promtool("test", "rules", case.name, cwd=case.parent)


def test_every_alert_is_seen_ringing():
    seen = {
        test["alertname"]
        for case in CASES
        for group in yaml.safe_load(case.read_text())["tests"]
        for test in group["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert seen == {rule["alert"] for rule in alerts()}


def test_every_alert_says_who_looks_and_what_is_wrong():
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]


def test_every_alert_has_a_section_in_the_runbook():
    sections = dict(SECTION.findall((ROOT / "deploy/RUNBOOK.md").read_text()))
    assert set(sections) == {rule["alert"] for rule in alerts()}
    for name, text in sections.items():
        for part in ("**Means.**", "**Look.**", "**Do.**"):
            assert part in text, f"{name} lacks {part}"


def test_the_runbook_shows_queries_that_can_be_asked():
    text = (ROOT / "deploy/RUNBOOK.md").read_text()
    known = exported()
    for query in re.findall(r"`([^`]*(?:pequod_|pequod:)[^`]*)`", text):
        assert set(asked(query)) <= set(known), query
        assert recorded(query) <= {rule.get("record") for rule in rules()}, query


@pytest.mark.parametrize("query", every_query())
def test_every_series_of_a_query_is_exported(query):
    known = exported()
    series = asked(query)
    assert series or recorded(query) or "up" in query
    for name, labels in series.items():
        assert name in known, f"{name} is no metric"
        assert labels <= known[name] | OF_PROMETHEUS, f"{name} has no such label"
    assert recorded(query) <= {rule.get("record") for rule in rules()}


def test_every_recorded_series_is_used():
    used = {name for query in every_query() for name in recorded(query)}
    assert used == {rule["record"] for rule in rules() if "record" in rule}


def test_every_process_is_scraped_under_its_name():
    config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]}
    expected = {service.name: [f"{service.name}:{service.side_port}"] for service in SERVICES}
    assert targets == {"gateway": ["gateway:9050"], **expected}


def test_kubernetes_has_the_same_rules():
    assert build.TARGET.read_text() == build.rendered(), "run: make manifests"
    rule = yaml.safe_load(build.rendered())
    groups = [
        group
        for name in ("recording.yaml", "alerts.yaml")
        for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    ]
    assert rule["spec"]["groups"] == groups
