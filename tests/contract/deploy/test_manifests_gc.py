"""The nightly garbage collection: a command that there is, with what it needs, and nobody else lets in."""

from __future__ import annotations

import pytest
import typer.main

from gateway.cli.app import build
from gateway.cli.durations import seconds_of
from services.common.catalogue import SERVICES
from services.common.upkeep.loaded import addresses
from tests.contract.deploy.manifests import (
    NAME,
    TOGETHER,
    all_variables,
    environment,
    matches,
    named,
    of_kind,
    pods,
    rendered,
    server,
)


@pytest.fixture(scope="module")
def manifests():
    return rendered(TOGETHER)


@pytest.fixture(scope="module")
def template(manifests):
    return named(manifests, "CronJob", "gc")["spec"]["jobTemplate"]["spec"]["template"]


@pytest.fixture(scope="module")
def container(template):
    (only,) = template["spec"]["containers"]
    return only


def test_it_is_a_command_that_there_is_with_options_that_it_takes(container):
    program, *words = [*container["command"], *container["args"]]
    assert (program, words[:2]) == ("pequod", ["store", "gc"])
    command = typer.main.get_command(build()).commands["store"].commands["gc"]
    context = command.make_context("gc", list(words[2:]))
    assert context.params["delete"] is True
    assert context.params["offline"] is False
    for name in ("grace", "checkpoints_after", "datasets_after"):
        assert context.params[name] == "never" or seconds_of(context.params[name]) >= 86400, name


def test_it_runs_the_image_and_reads_the_settings_of_the_fine_tune_service(manifests, container):
    finetune = server(pods(manifests)["finetune"])
    assert container["image"] == finetune["image"]
    theirs, own = environment(manifests, finetune), environment(manifests, container)
    same = ("PEQUOD_STORE", "PEQUOD_DATASETS", "PEQUOD_FINETUNE_WORK", "PEQUOD_CACHE")
    assert {name: own[name] for name in same} == {name: theirs[name] for name in same}
    assert set(own) <= all_variables() | {"HOME", "AWS_REGION"}
    secrets = [each["secretRef"]["name"] for each in container["envFrom"] if "secretRef" in each]
    assert secrets == ["pequod-finetune"]


def test_it_finds_what_it_refers_to(manifests, template, container):
    volumes = {each["name"]: each for each in template["spec"]["volumes"]}
    assert {each["name"] for each in container["volumeMounts"]} == set(volumes)
    claim = volumes["data"]["persistentVolumeClaim"]["claimName"]
    assert named(manifests, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    own = environment(manifests, container)
    assert {own["PEQUOD_FINETUNE_WORK"], own["PEQUOD_CACHE"], own["HOME"]} <= mounts
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    assert template["spec"]["serviceAccountName"] in accounts


def test_it_reaches_those_whom_it_asks_and_they_let_it_in(manifests, template, container, monkeypatch):
    """The addresses are those that the command makes of the settings that its pod has."""
    labels = template["metadata"]["labels"]
    egress = [
        (rule["to"][0]["podSelector"]["matchLabels"][NAME], port["port"])
        for policy in of_kind(manifests, "NetworkPolicy")
        if matches(policy["spec"]["podSelector"], labels)
        for rule in policy["spec"].get("egress", [])
        if "podSelector" in rule["to"][0] and "namespaceSelector" not in rule["to"][0]
        for port in rule["ports"]
    ]
    asked = set()

    def found(host, port, **options):
        asked.add((host, port))
        return [(None, None, None, "", ("10.0.0.1", port))]

    monkeypatch.setattr("socket.getaddrinfo", found)
    given = {name: value for name, value in environment(manifests, container).items() if value is not None}
    addresses(given)
    assert set(egress) == asked == {(each.name, each.side_port) for each in SERVICES if each.has_models}
    (policy,) = [
        each for each in of_kind(manifests, "NetworkPolicy") if each["metadata"]["name"] == "services-from-gc"
    ]
    let_in = {
        name
        for name, pod in pods(manifests).items()
        if matches(policy["spec"]["podSelector"], pod["metadata"]["labels"])
    }
    assert let_in == {name for name, _ in asked}
    (rule,) = policy["spec"]["ingress"]
    assert matches(rule["from"][0]["podSelector"], labels)
    assert rule["ports"] == [{"protocol": "TCP", "port": "side"}]


def test_it_is_hardened_and_one_at_a_time(manifests, template, container):
    spec = named(manifests, "CronJob", "gc")["spec"]
    assert (spec["concurrencyPolicy"], template["spec"]["restartPolicy"]) == ("Forbid", "Never")
    assert template["spec"]["automountServiceAccountToken"] is False
    assert template["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    memory = container["resources"]
    assert memory["requests"]["memory"] == memory["limits"]["memory"]
    assert labels_of_others(manifests).isdisjoint(template["metadata"]["labels"][NAME].split())


def labels_of_others(manifests):
    return {pod["metadata"]["labels"][NAME] for pod in pods(manifests).values()}
