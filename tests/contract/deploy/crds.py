"""What custom resources must look like, after the schemas that their projects publish.

Only what the manifests use is known: another field is refused here until it is looked up there. Sources:
kedacore/keda config/crd/bases, kubernetes-sigs/gateway-api config/crd/standard, prometheus-operator
example/prometheus-operator-crd, kubernetes-sigs/kueue config/components/crd/bases.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def text(*values: str, pattern: str = "") -> Schema:
    """A string; one of ``values`` where there are some."""
    limits: Schema = {"enum": list(values)} if values else {"minLength": 1}
    return {"type": "string", **limits, **({"pattern": pattern} if pattern else {})}


def integer(minimum: int = 0, maximum: int = 2**31 - 1) -> Schema:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def listed(of: Schema, least: int = 0, most: int = 64) -> Schema:
    return {"type": "array", "items": of, "minItems": least, "maxItems": most}


def mapping(required: str = "", **fields: Schema) -> Schema:
    """An object of these fields and no others; ``required`` names some of them."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


LABELS = {"type": "object", "additionalProperties": {"type": "string"}}
SELECTOR = mapping(matchLabels=LABELS)
NAME = text(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
HOST = text(pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
DURATION = text(pattern=r"^([0-9]{1,5}(h|m|s|ms)){1,4}$")
PORT = integer(1, 65535)
QUANTITY = text(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$")

_SCALE_POLICY = mapping(
    "type value periodSeconds", type=text("Pods", "Percent"), value=integer(1), periodSeconds=integer(1, 1800)
)
_SCALE_RULES = mapping(stabilizationWindowSeconds=integer(0, 3600), policies=listed(_SCALE_POLICY, 1))
SCALED_OBJECT = mapping(
    "scaleTargetRef triggers",
    scaleTargetRef=mapping("name", name=NAME, kind=text(), apiVersion=text()),
    pollingInterval=integer(1),
    cooldownPeriod=integer(),
    minReplicaCount=integer(),
    maxReplicaCount=integer(1),
    fallback=mapping(
        "failureThreshold replicas",
        failureThreshold=integer(),
        replicas=integer(),
        behavior=text("static", "currentReplicas", "currentReplicasIfHigher", "currentReplicasIfLower"),
    ),
    advanced=mapping(
        horizontalPodAutoscalerConfig=mapping(behavior=mapping(scaleDown=_SCALE_RULES, scaleUp=_SCALE_RULES))
    ),
    triggers=listed(
        mapping(
            "type metadata",
            type=text("prometheus"),
            name=text(),
            metricType=text("AverageValue", "Value"),
            # Of the scaler: keda.sh/docs, "Prometheus". All of them are strings.
            metadata=mapping(
                "serverAddress query threshold",
                serverAddress=text(pattern=r"^https?://"),
                query=text(),
                threshold=text(pattern=r"^[0-9.]+$"),
                activationThreshold=text(),
                ignoreNullValues=text("true", "false"),
            ),
        ),
        1,
    ),
)

SERVICE_MONITOR = mapping(
    "endpoints selector",
    jobLabel=text(),
    selector=SELECTOR,
    endpoints=listed(
        mapping(port=text(), path=text(pattern="^/"), interval=DURATION, honorLabels={"type": "boolean"}), 1
    ),
)

_RULE = mapping(
    "expr",
    record=text(),
    alert=text(),
    expr=text(),
    labels=LABELS,
    annotations=LABELS,
    **{"for": DURATION},
)
PROMETHEUS_RULE = mapping(
    "groups", groups=listed(mapping("name rules", name=text(), interval=DURATION, rules=listed(_RULE, 1)), 1)
)

_PARENTS = listed(mapping("name", name=NAME, sectionName=NAME), 1, 32)
_BACKENDS = listed(mapping("name port", name=NAME, port=PORT, weight=integer(0, 1000000)), 1, 16)
GRPC_ROUTE = mapping(
    "parentRefs rules",
    parentRefs=_PARENTS,
    hostnames=listed(HOST, 1, 16),
    rules=listed(mapping("backendRefs", backendRefs=_BACKENDS), 1, 16),
)
HTTP_ROUTE = mapping(
    "parentRefs rules",
    parentRefs=_PARENTS,
    hostnames=listed(HOST, 1, 16),
    rules=listed(
        mapping(
            "backendRefs", backendRefs=_BACKENDS, timeouts=mapping(request=DURATION, backendRequest=DURATION)
        ),
        1,
        16,
    ),
)
GATEWAY = mapping(
    "gatewayClassName listeners",
    gatewayClassName=NAME,
    listeners=listed(
        mapping(
            "name port protocol",
            name=NAME,
            hostname=HOST,
            port=PORT,
            protocol=text("HTTP", "HTTPS", "TLS", "TCP", "UDP"),
            tls=mapping(
                mode=text("Terminate", "Passthrough"), certificateRefs=listed(mapping("name", name=NAME))
            ),
            allowedRoutes=mapping(namespaces=mapping(**{"from": text("All", "Selector", "Same")})),
        ),
        1,
    ),
)

RESOURCE_FLAVOR = mapping(nodeLabels=LABELS)
CLUSTER_QUEUE = mapping(
    namespaceSelector=SELECTOR,
    resourceGroups=listed(
        mapping(
            "coveredResources flavors",
            coveredResources=listed(text(), 1),
            flavors=listed(
                mapping(
                    "name resources",
                    name=NAME,
                    resources=listed(mapping("name nominalQuota", name=text(), nominalQuota=QUANTITY), 1),
                ),
                1,
            ),
        )
    ),
    preemption=mapping(
        withinClusterQueue=text("Never", "LowerPriority", "LowerOrNewerEqualPriority"),
        reclaimWithinCohort=text("Never", "LowerPriority", "Any"),
    ),
)
LOCAL_QUEUE = mapping("clusterQueue", clusterQueue=NAME)

SPECS: dict[tuple[str, str], Schema] = {
    ("keda.sh/v1alpha1", "ScaledObject"): SCALED_OBJECT,
    ("monitoring.coreos.com/v1", "ServiceMonitor"): SERVICE_MONITOR,
    ("monitoring.coreos.com/v1", "PrometheusRule"): PROMETHEUS_RULE,
    ("gateway.networking.k8s.io/v1", "GRPCRoute"): GRPC_ROUTE,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): HTTP_ROUTE,
    ("gateway.networking.k8s.io/v1", "Gateway"): GATEWAY,
    ("kueue.x-k8s.io/v1beta2", "ResourceFlavor"): RESOURCE_FLAVOR,
    ("kueue.x-k8s.io/v1beta2", "ClusterQueue"): CLUSTER_QUEUE,
    ("kueue.x-k8s.io/v1beta2", "LocalQueue"): LOCAL_QUEUE,
}
"""The schema of ``spec`` of every custom resource there is."""
