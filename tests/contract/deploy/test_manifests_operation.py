"""What the manifests promise about running: settings, endings, memory, hardening."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.upstream.names import LOOK_SECONDS
from services.common.rpc.process import ProcessSettings
from services.common.settings import from_environment
from services.finetune.orchestrator.tending import GRACE
from tests.contract.deploy.manifests import (
    OVERLAYS,
    PROCESSES,
    TOGETHER,
    all_variables,
    classes_of,
    containers,
    default_ports,
    environment,
    named,
    of_kind,
    pods,
    read_by,
    rendered,
    server,
)

OTHERS = {"HOME", "HF_TOKEN", "AWS_REGION"}
"""Variables of libraries."""
MARGIN = 5
"""Seconds of a pod's end for what comes after its calls."""
UNITS = {"Mi": 2**20, "Gi": 2**30}
PRELOADED = {"tokenizer", "sampler", "diffusion", "gan"}


@pytest.fixture(params=OVERLAYS)
def manifests(request):
    return rendered(request.param)


def size(text):
    """Bytes of a quantity."""
    number, unit = re.fullmatch(r"([0-9]+)(Mi|Gi)", text).groups()
    return int(number) * UNITS[unit]


def test_every_variable_is_a_setting(manifests):
    known = all_variables() | OTHERS
    for template in pods(manifests).values():
        for container in containers(template):
            assert set(environment(manifests, container)) <= known


def test_a_variable_of_one_process_is_read_by_it(manifests):
    for name in PROCESSES:
        container = server(pods(manifests)[name])
        assert {each["name"] for each in container.get("env", [])} <= set(read_by(name)) | OTHERS


def test_every_value_is_one_that_the_setting_takes(manifests):
    """The settings are read as the process reads them; what only the cluster knows stays out."""
    for name in PROCESSES:
        environ = environment(manifests, server(pods(manifests)[name]))
        known = {key: value for key, value in environ.items() if value is not None}
        settings = from_environment(ProcessSettings, known, name)
        guarded = name == "gateway" or "PEQUOD_SERVICES_TLS_CLIENT_CA" in known
        assert (settings.host, settings.insecure) == ("0.0.0.0", not guarded)
        for cls, about in classes_of(name):
            from_environment(cls, known, about)


def test_the_gateway_is_told_of_every_service_by_its_own_name_and_port(manifests):
    environ = environment(manifests, server(pods(manifests)["gateway"]))
    for service in of_kind(manifests, "Service"):
        name = service["metadata"]["name"]
        if name in set(PROCESSES) - {"gateway"}:
            ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
            assert environ[f"PEQUOD_{name.upper()}_BACKENDS"] == f"{name}:{ports['grpc']}"


def test_containers_listen_on_the_ports_that_they_declare(manifests):
    """No manifest sets a port, so each process listens on its default."""
    for name in PROCESSES:
        container = server(pods(manifests)[name])
        declared = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert not [each for each in environment(manifests, container) if each.endswith("_PORT")]
        assert declared == default_ports(name)


def test_no_service_sets_variables_in_pods(manifests):
    """Kubernetes would set SAMPLER_PORT=tcp://… for a Service sampler; a prefix more, and it were ours."""
    assert all(template["spec"]["enableServiceLinks"] is False for template in pods(manifests).values())


def test_an_ending_pod_has_the_time_that_its_process_takes(manifests):
    for name in PROCESSES:
        template = pods(manifests)[name]
        environ = environment(manifests, server(template))
        takes = float(environ["PEQUOD_DRAIN_SECONDS"]) + float(environ["PEQUOD_GRACE_SECONDS"])
        if name == "finetune":
            takes += GRACE  # its workers write checkpoints
        assert template["spec"]["terminationGracePeriodSeconds"] > takes + MARGIN


def test_a_draining_process_serves_until_nobody_sends_it_calls_any_more(manifests):
    """Kubelet needs two failed probes at most, the gateway looks every other second."""
    environ = environment(manifests, server(pods(manifests)["gateway"]))
    assert float(environ["PEQUOD_DRAIN_SECONDS"]) > 2 * LOOK_SECONDS


def test_envoy_drains_before_it_ends():
    manifests = rendered("envoy")
    template = pods(manifests)["envoy"]
    container = server(template)
    [bash, script] = container["lifecycle"]["preStop"]["exec"]["command"]
    [mount] = [each for each in container["volumeMounts"] if script.startswith(each["mountPath"] + "/")]
    [volume] = [each for each in template["spec"]["volumes"] if each["name"] == mount["name"]]
    [files] = [
        each["data"]
        for each in of_kind(manifests, "ConfigMap")
        if each["metadata"]["name"] == volume["configMap"]["name"]
    ]
    text = files[script.removeprefix(mount["mountPath"] + "/")]
    assert (bash, "/drain_listeners?graceful&skip_exit" in text) == ("bash", True)
    [most] = re.findall(r"SECONDS < (\d+)", text)
    draining = int(container["args"][container["args"].index("--drain-time-s") + 1])
    assert int(most) > draining, "its doors close before it ends"
    assert template["spec"]["terminationGracePeriodSeconds"] > int(most) + MARGIN


def test_updates_take_no_replica_away_except_where_gpus_are_few(manifests):
    for deployment in of_kind(manifests, "Deployment"):
        name, strategy = deployment["metadata"]["name"], deployment["spec"]["strategy"]
        if strategy["type"] == "Recreate":
            assert name == "finetune"
            continue
        limits = server(deployment["spec"]["template"])["resources"]["limits"]
        rolling = (0, 1) if "nvidia.com/gpu" in limits or name == "finetune" else (1, 0)
        found = strategy["rollingUpdate"]
        assert (found["maxSurge"], found["maxUnavailable"]) == rolling, name


def test_memory_is_asked_for_in_full_and_the_models_fit(manifests):
    for name, template in pods(manifests).items():
        for container in containers(template):
            resources = container["resources"]
            assert resources["requests"]["memory"] == resources["limits"]["memory"]
            assert "cpu" in resources["requests"]
            assert "cpu" not in resources["limits"], "a limit of CPU time stops steps in the middle"
        if name not in PROCESSES:
            continue
        limit = size(server(template)["resources"]["limits"]["memory"])
        in_memory = [each["emptyDir"] for each in template["spec"]["volumes"] if "emptyDir" in each]
        tmpfs = sum(size(each["sizeLimit"]) for each in in_memory if each.get("medium") == "Memory")
        budget = int(environment(manifests, server(template)).get("PEQUOD_MEMORY_BUDGET", 0))
        assert budget + tmpfs + 2**29 <= limit, name


def test_the_cache_keeps_to_less_than_its_volume_has(manifests):
    for name in (*PRELOADED, "finetune"):
        template = pods(manifests)[name]
        (volume,) = [each for each in template["spec"]["volumes"] if each["name"] == "cache"]
        limit = int(environment(manifests, server(template))["PEQUOD_CACHE_BYTES"])
        assert 0 < limit < size(volume["emptyDir"]["sizeLimit"]), name


def test_gpus_are_asked_for_by_the_gpu_component_alone(manifests):
    with_gpu = {
        name
        for name, template in pods(manifests).items()
        if server(template)["resources"]["limits"].get("nvidia.com/gpu") == "1"
    }
    is_gpu = manifests in (rendered("gpu"), rendered(TOGETHER))
    assert with_gpu == ({"sampler", "diffusion", "finetune"} if is_gpu else set())
    for name, template in pods(manifests).items():
        assert ("-cuda@" in server(template)["image"]) is (name in with_gpu)
    if is_gpu:
        sampler, diffusion = (server(pods(manifests)[name]) for name in ("sampler", "diffusion"))
        assert environment(manifests, sampler)["PEQUOD_SAMPLER_DEVICE"] == "cuda"
        assert environment(manifests, diffusion)["PEQUOD_DIFFUSION_DEVICE"] == "cuda"


def test_containers_are_hardened(manifests):
    for template in pods(manifests).values():
        of_pod = template["spec"]["securityContext"]
        assert of_pod["runAsNonRoot"] is True
        assert of_pod["runAsUser"] > 0
        assert of_pod["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(template):
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
    assert (
        named(manifests, "Namespace", "pequod")["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        == "restricted"
    )


def folder_of(value):
    """Where a setting leads to on disk; None for an object store or a database server."""
    if value is None:  # of a Secret
        return None
    if value.startswith("sqlite:///"):
        return Path(value.removeprefix("sqlite:///")).parent
    return None if not value or "://" in value else Path(value)


def test_every_folder_that_a_process_uses_is_a_volume(manifests):
    """The root is read-only, so no default below the working directory may be left."""
    for name in PROCESSES:
        container = server(pods(manifests)[name])
        environ = environment(manifests, container)
        below = [variable for variable, default in read_by(name).items() if "var/" in str(default)]
        secret = any("secretRef" in source for source in container["envFrom"])
        assert set(below) - set(environ) <= ({"PEQUOD_DATABASE_URL"} if secret else set())
        mounts = [
            (Path(each["mountPath"]), each.get("readOnly", False)) for each in container["volumeMounts"]
        ]
        for variable in set(below) & set(environ):
            folder = folder_of(environ[variable])
            if folder is not None:
                (read_only,) = [is_so for mount, is_so in mounts if folder.is_relative_to(mount)]
                given = (variable == "PEQUOD_STORE" and name in PRELOADED) or variable.startswith(
                    "PEQUOD_KEYS_"
                )
                assert read_only is given, f"{name}: {variable}"


def test_jobs_on_kubernetes_run_the_services_own_image_and_share_its_folder():
    for overlay in ("kueue", TOGETHER):
        manifests = rendered(overlay)
        template = pods(manifests)["finetune"]
        environ = environment(manifests, server(template))
        assert environ["PEQUOD_FINETUNE_KUBERNETES_IMAGE"] == server(template)["image"]
        (queue,) = of_kind(manifests, "LocalQueue")
        assert environ["PEQUOD_FINETUNE_KUBERNETES_QUEUE"] == queue["metadata"]["name"]
        claim = environ["PEQUOD_FINETUNE_KUBERNETES_CLAIM"]
        (volume,) = [
            each["name"]
            for each in template["spec"]["volumes"]
            if each.get("persistentVolumeClaim", {}).get("claimName") == claim
        ]
        mounts = {each["name"]: each["mountPath"] for each in server(template)["volumeMounts"]}
        assert mounts[volume] == environ["PEQUOD_FINETUNE_WORK"], "workers mount all of it as their folder"
        assert named(manifests, "PersistentVolumeClaim", claim)["spec"]["accessModes"] == ["ReadWriteMany"]


def test_models_are_read_only_and_fetched_before_a_service_starts(manifests):
    for name in PRELOADED:
        template = pods(manifests)[name]
        (filling,) = template["spec"]["initContainers"]
        assert filling["command"] == ["python", "-m", "services.common.store.filling"]
        variable = f"PEQUOD_{name.upper()}_PRELOAD"
        assert filling["args"] == [f"$({variable})"]
        environ = environment(manifests, filling)
        assert tuple(environ[variable].split(",")) == read_by(name)[variable], "as without Kubernetes"
        assert environ["PEQUOD_CACHE"] == "/cache"
        for container in containers(template):
            mounts = {each["mountPath"]: each.get("readOnly", False) for each in container["volumeMounts"]}
            assert mounts["/cache"] is False
            assert mounts.get("/store", True) is True
