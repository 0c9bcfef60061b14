"""The objects of an overlay find each other: selectors, ports, probes, accounts, volumes, images."""

from __future__ import annotations

import re

import pytest

from services.common.catalogue import SERVICES
from tests.contract.deploy.manifests import (
    NAME,
    OVERLAYS,
    PROCESSES,
    containers,
    matches,
    named,
    of_kind,
    pods,
    rendered,
    server,
)

DIGEST = re.compile(r"^[a-z0-9.-]+(/[a-z0-9-]+)+@sha256:[0-9a-f]{64}$")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
YOURS = {
    "keys",
    "pequod-finetune",
    "pequod-objects",
    "pequod-gateway",
    "hub",
    "tls",
    "services-tls",
    "gateway-tls",
}
"""Secrets that whoever installs it makes; each is named where it is used."""


@pytest.fixture(params=OVERLAYS)
def manifests(request):
    return rendered(request.param)


def test_every_process_is_deployed(manifests):
    assert set(PROCESSES) <= set(pods(manifests))


def test_a_deployment_selects_its_own_pods_and_no_others(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        taken = [
            name
            for name, template in pods(manifests).items()
            if matches(deployment["spec"]["selector"], template["metadata"]["labels"])
        ]
        assert taken == [deployment["metadata"]["name"]]


def test_a_service_leads_to_ports_that_its_pods_have(manifests):
    for service in of_kind(manifests, "Service"):
        (template,) = [
            template
            for template in pods(manifests).values()
            if service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        ]
        ports = {port["name"]: port["containerPort"] for port in server(template)["ports"]}
        for port in service["spec"]["ports"]:
            assert port["targetPort"] in ports
            headless = service["spec"].get("clusterIP") == "None"
            # The name of a headless Service leads to the pods, where no port is translated.
            assert not headless or port["port"] == ports[port["targetPort"]]


def test_services_are_headless_so_that_the_gateway_sees_every_replica(manifests):
    for service in SERVICES:
        spec = named(manifests, "Service", service.name)["spec"]
        assert spec["clusterIP"] == "None"
        assert {port["name"]: port["port"] for port in spec["ports"]} == {
            "grpc": service.port,
            "side": service.side_port,
        }
        assert "publishNotReadyAddresses" not in spec


def test_probes_ask_the_side_port(manifests):
    """What answers there is tried on the real processes in tests/e2e/test_probes.py."""
    for name in PROCESSES:
        container = server(pods(manifests)[name])
        asked = {
            probe: container[probe]["httpGet"]
            for probe in ("startupProbe", "readinessProbe", "livenessProbe")
        }
        assert asked == {
            "startupProbe": {"path": "/readyz", "port": "side"},
            "readinessProbe": {"path": "/readyz", "port": "side"},
            "livenessProbe": {"path": "/livez", "port": "side"},
        }
        assert (
            container["startupProbe"]["periodSeconds"] * container["startupProbe"]["failureThreshold"] >= 600
        )


def test_what_keeps_pods_together_finds_them(manifests):
    for name, template in pods(manifests).items():
        labels = template["metadata"]["labels"]
        constraints = template["spec"]["topologySpreadConstraints"]
        assert "topology.kubernetes.io/zone" in {each["topologyKey"] for each in constraints}
        assert all(matches(each["labelSelector"], labels) for each in constraints)
        budgets = of_kind(manifests, "PodDisruptionBudget")
        own = [each for each in budgets if matches(each["spec"]["selector"], labels)]
        assert [each["metadata"]["name"] for each in own] == [name]
        assert own[0]["spec"]["maxUnavailable"] == 1


def test_accounts_are_there_and_only_the_orchestrator_has_a_token(manifests):
    accounts = {each["metadata"]["name"] for each in of_kind(manifests, "ServiceAccount")}
    for name, template in pods(manifests).items():
        spec = template["spec"]
        assert spec["serviceAccountName"] in accounts
        assert spec["automountServiceAccountToken"] is (name == "finetune")
        assert (spec["serviceAccountName"] == "orchestrator") is (name == "finetune")
    (binding,) = of_kind(manifests, "RoleBinding")
    assert [(each["kind"], each["name"]) for each in binding["subjects"]] == [
        ("ServiceAccount", "orchestrator")
    ]
    assert not of_kind(manifests, "ClusterRole", "ClusterRoleBinding")


def test_the_orchestrators_rights_are_those_of_its_jobs(manifests):
    (role,) = of_kind(manifests, "Role")
    rights = {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    verbs = {"get", "list", "watch", "create", "delete"}
    assert rights == {("batch", "jobs"): verbs, ("", "pods"): verbs}


def references(template):
    """What a pod refers to by name, as pairs of kind and name."""
    for volume in template["spec"]["volumes"]:
        yield "PersistentVolumeClaim", volume.get("persistentVolumeClaim", {}).get("claimName")
        yield "ConfigMap", volume.get("configMap", {}).get("name")
        yield "Secret", volume.get("secret", {}).get("secretName")
    for container in containers(template):
        for source in container.get("envFrom", []):
            yield "ConfigMap", source.get("configMapRef", {}).get("name")
            yield "Secret", source.get("secretRef", {}).get("name")
        for variable in container.get("env", []):
            yield "Secret", variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name")


def test_what_pods_refer_to_is_there(manifests):
    there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
    there |= {("Secret", name) for name in YOURS}
    for template in pods(manifests).values():
        assert {(kind, name) for kind, name in references(template) if name} <= there


def test_every_volume_is_mounted(manifests):
    for template in pods(manifests).values():
        mounted = {mount["name"] for container in containers(template) for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in template["spec"]["volumes"]}


def test_every_image_is_one_digest(manifests):
    for name, template in pods(manifests).items():
        images = {container["image"] for container in containers(template)}
        assert len(images) == 1, "the init container runs the service's own image"
        assert DIGEST.match(*images), f"{name}: {images}"


def test_scalers_find_what_they_scale_and_nothing_else_sets_its_number(manifests):
    scaled = []
    for scaler in of_kind(manifests, "HorizontalPodAutoscaler", "ScaledObject"):
        target = scaler["spec"]["scaleTargetRef"]["name"]
        assert "replicas" not in named(manifests, "Deployment", target)["spec"], (
            "apply would undo the scaling"
        )
        scaled.append(target)
    assert len(scaled) == len(set(scaled)), "two scalers of one Deployment fight"
    for deployment in of_kind(manifests, "Deployment"):
        name = deployment["metadata"]["name"]
        assert ("replicas" in deployment["spec"]) is (name not in scaled), "apply would undo the scaling"


def test_routes_lead_to_ports_of_the_gateway():
    manifests = rendered("keda")
    (gateway,) = of_kind(manifests, "Gateway")
    listeners = {each["name"]: each["hostname"] for each in gateway["spec"]["listeners"]}
    hosts = []
    for route in of_kind(manifests, "GRPCRoute", "HTTPRoute"):
        (parent,) = route["spec"]["parentRefs"]
        assert route["spec"]["hostnames"] == [listeners[parent["sectionName"]]]
        hosts += route["spec"]["hostnames"]
        for backend in route["spec"]["rules"][0]["backendRefs"]:
            ports = {
                port["port"]: port for port in named(manifests, "Service", backend["name"])["spec"]["ports"]
            }
            wanted = "kubernetes.io/h2c" if route["kind"] == "GRPCRoute" else "http"
            assert ports[backend["port"]]["appProtocol"] == wanted
    assert len(hosts) == len(set(hosts)), "a GRPCRoute and an HTTPRoute may not share a host name"


def test_prometheus_scrapes_every_process_under_its_own_name():
    manifests = rendered("keda")
    (monitor,) = of_kind(manifests, "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["honorLabels"], "else our label service gives way to that of Kubernetes"
    found = [
        each
        for each in of_kind(manifests, "Service")
        if matches(monitor["spec"]["selector"], each["metadata"]["labels"])
    ]
    assert monitor["spec"]["jobLabel"] == NAME
    assert sorted(each["metadata"]["labels"][NAME] for each in found) == sorted(PROCESSES)
    for each in found:
        assert endpoint["port"] in {port["name"] for port in each["spec"]["ports"]}
