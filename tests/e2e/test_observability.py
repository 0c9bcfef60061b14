"""The real Prometheus on a running platform: every query has an answer, every rule can be evaluated."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request

import pytest
import yaml

from services.common.catalogue import SERVICES
from tests.e2e.conftest import started
from tests.ports import lasting_ports
from tests.unit.deploy.queries import DASHBOARDS, PROMETHEUS, asked, every_query, panel_queries

UNANSWERED = {
    "Ejected as outliers": "needs a backend that fails while another serves",
    "Tried again on another backend": "needs a backend that goes away in the middle of a call",
    "Adapters, new to the network or not": "needs an adapter, which a training makes",
    "Whose callers left": "needs a caller that leaves at the right moment",
    "Webhooks": "needs somebody who listens",
    "Certificates end in": "needs TLS",
    **dict.fromkeys(
        ("GPUs busy", "Memory of GPUs in use", "Temperature of GPUs", "Power of GPUs"), "needs an NVIDIA GPU"
    ),
}
"""Panels that stay empty here, each with what it would take."""


class Prometheus:
    """A server that scrapes a platform every second, with the rules that are shipped."""

    def __init__(self, folder, platform):
        self._folder = folder
        (port,) = lasting_ports(1)
        self.address = f"127.0.0.1:{port}"
        self._write_configuration(platform)

    def _write_configuration(self, platform):
        config = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        ports = {"gateway": platform.environment["PEQUOD_GATEWAY_ADMIN_PORT"]} | {
            each.name: platform.environment[f"PEQUOD_{each.name.upper()}_SIDE_PORT"] for each in SERVICES
        }
        for job in config["scrape_configs"]:
            job["static_configs"] = [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]
        for name in config["rule_files"]:
            text = (PROMETHEUS / name).read_text()
            (self._folder / name).write_text(text.replace("interval: 30s", "interval: 1s"))
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(config))

    def __enter__(self):
        command = [
            *("prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data"),
            f"--web.listen-address={self.address}",
        ]
        with (self._folder / "prometheus.log").open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log)
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.wait(30)

    def get(self, path, **parameters):
        """The data of an answer of its API."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.load(reply)["data"]

    def numbers(self, query):
        """The values of a query, without those that are none (a quantile of nothing)."""
        found = self.get("query", query=query)["result"]
        return [value for value in (float(each["value"][1]) for each in found) if not math.isnan(value)]

    def until(self, what, condition, seconds=90):
        deadline = time.monotonic() + seconds
        while True:
            try:
                missing = condition()
            except OSError as error:
                missing = error
            if not missing:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"{what}: {missing}")
            time.sleep(0.5)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A platform and the Prometheus that scrapes it."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not installed (Debian: prometheus)")
    folder = tmp_path_factory.mktemp("watched")
    (folder / "books").mkdir()
    (folder / "books/one.txt").write_text("THE WHALE AND THE SEA. " * 400)
    with started(folder) as platform, Prometheus(folder, platform) as prometheus:
        prometheus.until("not scraped", lambda: 6 - len(prometheus.numbers("up == 1")))
        yield platform, prometheus


def traffic(platform):
    """A little of everything, through the gateway."""
    for service, method, body in (
        ("sampler", "SamplerService/Generate", {"prompt": "The old captain", "stopping": {"maxTokens": 20}}),
        ("tokenizer", "TokenizerService/CountTokens", {"texts": ["Call me Ishmael."]}),
        ("tokenizer", "EmbeddingService/Embed", {"inputs": [{"text": "a whale"}]}),
        ("gan", "GanService/Sample", {"n": 2}),
        ("finetune", "FineTuneService/ListJobs", {}),
        ("finetune", "DatasetService/ListDatasets", {}),
    ):
        status, reply = platform.post(f"pequod.{service}.v1.{method}", body)
        assert status == 200, reply
    assert platform.post("pequod.model.v1.ModelService/GetModel", {"model": "nobody"})[0] == 404
    for arguments in (
        ("image", "a person", "--steps", "2", "-o", "a.png"),
        ("face", "--seed", "1", "-o", "face.png"),
        ("face", "--project", "face.png", "--steps", "3", "-o", "found.png"),
        ("finetune", "books", "--recipe", "ngram", "--set", "order=2", "--watch"),
    ):
        done = platform.run(*arguments, timeout=100)
        assert done.returncode == 0, done.stderr


def asked_of(query):
    """As Grafana fills it in for a few hours."""
    return query.replace("$__rate_interval", "5m")


@pytest.mark.timeout(600)
def test_every_query_of_a_dashboard_has_an_answer(watched):
    platform, prometheus = watched
    traffic(platform)
    # A counter that is new has no rate: it must be seen to grow.
    prometheus.until("not seen", lambda: not prometheus.numbers("pequod_jobs_ended_total"))
    time.sleep(2)
    traffic(platform)
    missing = {
        (file.stem, title, query)
        for file in DASHBOARDS
        for title, query in panel_queries(file)
        if title not in UNANSWERED
    }

    def unanswered():
        missing.difference_update([each for each in missing if prometheus.numbers(asked_of(each[2]))])
        return sorted(missing)

    prometheus.until("no answer", unanswered)


def test_panels_that_stay_empty_are_in_a_dashboard():
    titles = {title for file in DASHBOARDS for title, _ in panel_queries(file)}
    assert set(UNANSWERED) <= titles


def test_every_query_can_be_asked(watched):
    """The empty ones too, those of scalers, and those of alerts."""
    _, prometheus = watched
    for query in every_query():
        prometheus.get("query", query=asked_of(query))


def test_every_rule_is_evaluated_and_no_alert_rings(watched):
    _, prometheus = watched

    def not_evaluated():
        groups = prometheus.get("rules")["groups"]
        return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] != "ok"]

    prometheus.until("not evaluated", not_evaluated)
    ringing = prometheus.get("alerts")["alerts"]
    # How full this machine's disks are is not the platform's doing.
    ours = [each for each in ringing if not each["labels"]["alertname"].startswith("PequodDisk")]
    assert not [each for each in ours if each["state"] == "firing"], ringing


def test_every_process_tells_of_the_disks_that_it_writes_to(watched):
    _, prometheus = watched
    told = prometheus.get("query", query="pequod_disk_free_bytes < pequod_disk_size_bytes")["result"]
    found = {}
    for each in told:
        found.setdefault(each["metric"]["job"], set()).add(each["metric"]["folder"])
    expected = {each.name: {"store", "cache"} for each in SERVICES} | {"gateway": {"database", "audit"}}
    expected["finetune"] |= {"work", "datasets", "database"}
    assert found == expected


def test_every_series_that_is_asked_for_is_exported_by_a_process(watched):
    _, prometheus = watched
    targets = prometheus.get("targets")["activeTargets"]
    assert len(targets) == 1 + len(SERVICES)
    exported = set()
    for target in targets:
        with urllib.request.urlopen(target["scrapeUrl"], timeout=10) as reply:
            exported |= set(re.findall(r"^# TYPE (\S+)", reply.read().decode(), re.MULTILINE))
    wanted = {re.sub(r"_(bucket|sum|count)$", "", name) for query in every_query() for name in asked(query)}
    assert wanted <= exported
