"""Rules of Prometheus: well formed, true on made-up series, asking for what is exported, in the runbook."""

from __future__ import annotations

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


def with_constants(case, runbook):
    """The case with what every alert says in the same words whatever rings: description and runbook_url."""
    said = {rule["alert"]: rule["annotations"] for rule in alerts()}
    tests = yaml.safe_load(case.read_text())
    tests["rule_files"] = [str((case.parent / name).resolve()) for name in tests["rule_files"]]
    for group in tests["tests"]:
        if runbook:
            group["external_labels"] = {"runbook": runbook}
        for expected in group["alert_rule_test"]:
            name = expected["alertname"]
            link = f"{runbook or 'deploy/RUNBOOK.md'}#{name.lower()}"
            constants = {"description": said[name]["description"], "runbook_url": link}
            for each in expected["exp_alerts"]:
                each["exp_annotations"] |= constants
    return tests


@pytest.mark.parametrize(
    ("case", "runbook"),
    [*((case, "") for case in CASES), (CASES[0], "https://wiki.example/runbook")],
    ids=lambda each: getattr(each, "stem", each or "the project's"),
)
def test_alerts_ring_when_they_should_and_only_then(case, runbook, tmp_path):
    (tmp_path / case.name).write_text(yaml.safe_dump(with_constants(case, runbook)))
    promtool("test", "rules", case.name, cwd=tmp_path)


def test_every_alert_is_seen_ringing():
    seen = {
        test["alertname"]
        for case in CASES
        for group in yaml.safe_load(case.read_text())["tests"]
        for test in group["alert_rule_test"]
        if test["exp_alerts"]
    }
    assert seen == {rule["alert"] for rule in alerts()}


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
