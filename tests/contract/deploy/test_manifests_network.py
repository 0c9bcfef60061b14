"""What the network policies let through is what processes call, and nothing else."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from tests.contract.deploy.manifests import (
    K8S,
    NAME,
    OVERLAYS,
    PROCESSES,
    ROOT,
    environment,
    matches,
    of_kind,
    pods,
    rendered,
    server,
)

ANYWHERE = "anywhere"
SERVICES = set(PROCESSES) - {"gateway"}


@pytest.fixture(params=OVERLAYS)
def manifests(request):
    return rendered(request.param)


def ports_of(template):
    return {port["name"]: port["containerPort"] for port in server(template)["ports"]}


def allowed(manifests, direction, peer):
    """Pairs of (own pod, peer, port) that policies allow in one direction, ports as numbers."""
    found = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        for rule in policy["spec"].get(direction, []):
            for name, template in pods(manifests).items():
                if not matches(policy["spec"]["podSelector"], template["metadata"]["labels"]):
                    continue
                for port in rule["ports"]:
                    number = ports_of(template).get(port["port"], port["port"])
                    found |= {(name, other, number) for other in peers(manifests, rule.get(peer))}
    return found


def peers(manifests, listed):
    """Names of pods; a description of what is outside."""
    if listed is None:
        return {ANYWHERE}
    found = set()
    for each in listed:
        if "namespaceSelector" in each:
            found.add("namespace " + next(iter(each["namespaceSelector"]["matchLabels"].values())))
        elif "ipBlock" in each:
            found.add("addresses")
        else:
            labels = {name: t["metadata"]["labels"] for name, t in pods(manifests).items()}
            found |= {name for name, of in labels.items() if matches(each["podSelector"], of)}
    return found


def between_pods(manifests):
    """Edges (from, to, port) that both ends allow, and those that only one does."""
    names = set(pods(manifests))
    outward = {edge for edge in allowed(manifests, "egress", "to") if edge[1] in names}
    inward = {
        (source, own, port) for own, source, port in allowed(manifests, "ingress", "from") if source in names
    }
    return outward & inward, outward ^ inward


def called_by_the_gateway(manifests):
    """As its settings say."""
    environ = environment(manifests, server(pods(manifests)["gateway"]))
    backends = [value for key, value in environ.items() if key.endswith("_BACKENDS")]
    return {("gateway", host, int(port)) for host, _, port in (each.partition(":") for each in backends)}


def called_by_envoy():
    """As its configuration says: the clusters' addresses and health checks."""
    config = yaml.safe_load((K8S / "components/envoy/envoy.yaml").read_text())
    for cluster in config["static_resources"]["clusters"]:
        for group in cluster["load_assignment"]["endpoints"]:
            for each in group["lb_endpoints"]:
                address = each["endpoint"]["address"]["socket_address"]
                if address["address"] == "gateway-pods":
                    yield "envoy", "gateway", address["port_value"]
                    yield "envoy", "gateway", each["endpoint"]["health_check_config"]["port_value"]


def spans_sent(manifests):
    """As the settings of each process say; nowhere else where they say nothing."""
    found = set()
    for name in PROCESSES:
        address = environment(manifests, server(pods(manifests)[name])).get("OTEL_EXPORTER_OTLP_ENDPOINT")
        if address:
            place = urlsplit(address)
            found.add((name, f"namespace {place.hostname.split('.')[1]}", place.port))
    return found


def test_all_is_denied_that_is_not_allowed(manifests):
    denied = [
        policy["spec"]
        for policy in of_kind(manifests, "NetworkPolicy")
        if policy["metadata"]["name"] == "default-deny"
    ]
    assert denied == [{"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}]


def test_edges_between_pods_are_the_calls_that_are_made(manifests):
    expected = called_by_the_gateway(manifests)
    assert {name for _, name, _ in expected} == SERVICES
    if "envoy" in pods(manifests):
        expected |= set(called_by_envoy())
    both, one_sided = between_pods(manifests)
    assert both == expected
    assert not one_sided, "an edge that only one end allows is a mistake at the other"


def test_only_the_gateway_opens_channels():
    """What the edges above follow from: services call no other service."""
    opening = re.compile(r"grpc(\.aio)?\.(in)?secure_channel\(")
    callers = {
        path.relative_to(ROOT).parts[0]
        for top in ("services", "gateway")
        for path in (ROOT / top).rglob("*.py")
        if "_pb2" not in path.name and opening.search(path.read_text())
    }
    assert callers == {"gateway"}


def test_from_outside_only_doors_and_metrics_are_reached(manifests):
    inward = {edge for edge in allowed(manifests, "ingress", "from") if edge[1] not in pods(manifests)}
    doors = {("gateway", "namespace true", 50051), ("gateway", "namespace true", 8080)}
    if "envoy" in pods(manifests):
        doors.add(("envoy", ANYWHERE, 8443))
    metrics = {
        (name, "namespace monitoring", ports_of(pods(manifests)[name])["side"])
        for name in PROCESSES
        if of_kind(manifests, "ServiceMonitor")
    }
    assert inward == doors | metrics


def test_to_the_outside_only_names_and_what_a_process_needs(manifests):
    outward = {edge for edge in allowed(manifests, "egress", "to") if edge[1] not in pods(manifests)}
    dns = {(name, "namespace kube-system", 53) for name in pods(manifests)}
    expected = dns | {("finetune", "addresses", 443)}
    if any("s3://" in str(each.get("data")) for each in of_kind(manifests, "ConfigMap")):
        expected |= {(name, "addresses", port) for name in SERVICES for port in (443, 9000)}
        expected |= {(name, "addresses", 5432) for name in ("gateway", "finetune")}
    expected |= spans_sent(manifests)
    if of_kind(manifests, "LocalQueue"):
        expected |= {("finetune", ANYWHERE, port) for port in (443, 6443)}
    assert outward == expected


def test_the_internet_does_not_mean_the_cluster():
    """As the service refuses private addresses itself, so does the network."""
    (policy,) = [
        each
        for each in of_kind(rendered("cpu"), "NetworkPolicy")
        if each["metadata"]["name"] == "finetune-to-internet"
    ]
    blocks = {
        each["ipBlock"]["cidr"]: set(each["ipBlock"]["except"]) for each in policy["spec"]["egress"][0]["to"]
    }
    assert {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16"} <= blocks["0.0.0.0/0"]
    assert {"fc00::/7", "fe80::/10"} <= blocks["::/0"]


def test_every_policy_takes_somebody_in(manifests):
    workers, collection = {NAME: "pequod-finetune-worker"}, {NAME: "gc"}
    for policy in of_kind(manifests, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"]
        labels = [*(t["metadata"]["labels"] for t in pods(manifests).values()), workers, collection]
        assert any(matches(selector, each) for each in labels), policy["metadata"]["name"]
