"""The Job of an attempt: what Kubernetes' own schemas say of it, and what must and must not stand in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import kubernetes_validate
import pytest

from services.common.settings import SettingsError
from services.common.store.settings import StoreSettings
from services.finetune.jobs.claims import Claim
from services.finetune.jobs.job import Executor, Job, Resources, Spec
from services.finetune.jobs.states import State
from services.finetune.orchestrator.executors.cluster.manifest import QUEUE, Surroundings, manifest, name_of
from services.finetune.orchestrator.executors.cluster.opening import for_workers
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.orchestrator.settings import JobSettings
from services.finetune.settings import FinetuneSettings

VERSIONS = ("1.31", "1.33", "1.35", "1.37")
SETTINGS = ClusterSettings(image="registry.example/pequod@sha256:" + "0" * 64)
JOB_ID = "ft-" + "a" * 26


def claim_of(resources: Resources = Resources(), tenant: str = "local", **fields) -> Claim:  # noqa: B008
    spec = Spec(recipe="pretrain_lm", executor=Executor.KUBERNETES, resources=resources, **fields)
    job = Job(
        **{
            **dict.fromkeys(Job.__dataclass_fields__, ""),
            **{"tenant": tenant, "job_id": JOB_ID, "spec": spec, "state": State.PREPARING},
            **{"create_time": datetime.now(UTC), "progress": None, "error": None},
        }
    )
    return Claim(job, "host-1", 3)


def made(claim: Claim, settings: ClusterSettings = SETTINGS) -> dict:
    return manifest(claim, Surroundings(settings, {"PEQUOD_STORE": "s3://models/x"}, "0123456789ab"))


CASES = {
    "plain": (claim_of(), SETTINGS),
    "gpu": (claim_of(Resources(1, max_seconds=60, cpu_cores=0.5, memory_bytes=2**33)), SETTINGS),
    "gpus": (claim_of(Resources(4, "amd.com/gpu")), SETTINGS),
    "queued": (claim_of(), replace(SETTINGS, queue="team-a")),
    "kept": (claim_of(), replace(SETTINGS, claim="work", node_selector=("gpu=h100", "x.io/y="))),
    "tenant": (claim_of(tenant="someone@example.org/" + "x" * 90), SETTINGS),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("case", CASES)
def test_schemas_of_kubernetes_accept_it(case, version):
    claim, settings = CASES[case]
    kubernetes_validate.validate(made(claim, settings), version, strict=True)


def test_the_schemas_refuse_what_is_misspelt():
    job = made(claim_of())
    job["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_one_claim_has_one_name_and_says_whose_it_is():
    claim = claim_of()
    assert made(claim) == made(claim)
    about = made(claim)["metadata"]
    assert about["name"] == name_of(claim) == f"{JOB_ID}-3"
    assert about["labels"]["pequod.io/job"] == JOB_ID
    assert about["labels"]["pequod.io/epoch"] == "3"
    assert about["annotations"] == {"pequod.io/tenant": "local", "pequod.io/owner": "host-1"}
    assert name_of(replace(claim, epoch=4)) != name_of(claim)


def test_a_tenant_that_is_no_label_stands_in_an_annotation():
    about = made(CASES["tenant"][0])["metadata"]
    assert about["annotations"]["pequod.io/tenant"].startswith("someone@")
    assert about["labels"]["pequod.io/tenant"].isalnum()


def test_kueue_gets_a_suspended_job():
    assert made(claim_of())["spec"]["suspend"] is False
    by_setting = made(*CASES["queued"])
    by_spec = made(claim_of(Resources(queue="mine")), replace(SETTINGS, queue="team-a"))
    assert (by_setting["spec"]["suspend"], by_spec["spec"]["suspend"]) == (True, True)
    assert by_setting["metadata"]["labels"][QUEUE] == "team-a"
    assert by_spec["metadata"]["labels"][QUEUE] == "mine"


def test_kubernetes_itself_tries_nothing_again():
    spec = made(claim_of())["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (0, 1, 1)
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = spec["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onPodConditions"][0]["type"]) == ("FailJob", "DisruptionTarget")
    assert spec["ttlSecondsAfterFinished"] > 0
    assert "activeDeadlineSeconds" not in spec
    assert made(CASES["gpu"][0])["spec"]["activeDeadlineSeconds"] > 60


def test_the_pod_has_no_rights_and_writes_to_its_volumes_only():
    pod = made(claim_of())["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_secrets_come_from_the_secret_alone():
    surroundings = Surroundings(SETTINGS, {"PEQUOD_DATABASE_URL": "postgresql://u:hidden@h/d"}, "0" * 12)
    job = manifest(claim_of(), surroundings)
    assert "hidden" not in json.dumps(job)
    given = {each["name"]: each for each in job["spec"]["template"]["spec"]["containers"][0]["env"]}
    reference = given["PEQUOD_DATABASE_URL"]["valueFrom"]["secretKeyRef"]
    assert reference == {"name": "pequod-finetune", "key": "PEQUOD_DATABASE_URL", "optional": False}
    assert given["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert len(given) == len(job["spec"]["template"]["spec"]["containers"][0]["env"])


def test_workers_send_their_spans_where_the_service_does_and_get_no_key_of_the_collector():
    own = FinetuneSettings(), StoreSettings(), JobSettings()
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_TRACES_SAMPLER": "always_on"}
    given = for_workers(own, {**traced, "OTEL_EXPORTER_OTLP_HEADERS": "key=hidden", "OTHER": "1"})
    assert traced.items() <= given.items()
    assert not {"OTEL_EXPORTER_OTLP_HEADERS", "OTHER", "PEQUOD_CACHE"} & set(given)


@pytest.mark.parametrize(
    ("resources", "start", "device", "threads"),
    [
        (Resources(), ["python", "-m"], "cpu", "2"),
        (Resources(1, cpu_cores=8), ["python", "-m"], "cuda", "8"),
        (Resources(4, cpu_cores=8), ["torchrun", "--standalone", "--nproc-per-node", "4", "-m"], "cuda", "2"),
    ],
)
def test_the_command_is_a_worker_for_each_accelerator(resources, start, device, threads):
    command = made(claim_of(resources))["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[: len(start) + 1] == [*start, "services.finetune.worker"]
    flags = command[len(start) + 1 :]
    given = dict(zip(flags[::2], flags[1::2], strict=True))
    assert (given["--job"], given["--epoch"], given["--owner"]) == (JOB_ID, "3", "host-1")
    assert (given["--device"], given["--threads"]) == (device, threads)


def test_a_job_gets_what_it_asks_for():
    (container,) = made(CASES["gpus"][0])["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": f"{8 * 2**30}", "amd.com/gpu": "4"}
    (container,) = made(CASES["gpu"][0])["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["requests"] == {
        "cpu": "500m",
        "memory": f"{2**33}",
        "nvidia.com/gpu": "1",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"node_selector": ("gpu",)},
        {"node_selector": ("a b=c",)},
        {"queue": "a/b"},
        {"accelerator": "no name"},
    ],
)
def test_settings_that_kubernetes_would_refuse_stop_the_start(fields):
    with pytest.raises(SettingsError, match="PEQUOD_FINETUNE_KUBERNETES_"):
        ClusterSettings(**fields)
