"""What cannot run on a cluster is refused with the field; a bad set-up of it stops the start."""

from __future__ import annotations

import ssl
import sys
from dataclasses import replace

import grpc
import pytest
from google.protobuf import json_format

from pequod.finetune import v1
from services.common.errors import Code, ServiceError
from services.common.settings import SettingsError
from services.common.store.settings import StoreSettings
from services.finetune.orchestrator.executors.cluster import api as api_module
from services.finetune.orchestrator.executors.cluster.api import ClusterApi
from services.finetune.orchestrator.executors.cluster.opening import refusal
from services.finetune.orchestrator.executors.cluster.settings import ClusterSettings
from services.finetune.settings import FinetuneSettings
from tests.unit.common.certificates import Authority
from tests.unit.finetune.cluster_server import NAMESPACE, TOKEN, serving_api
from tests.unit.finetune.job_parts import TINY_LM, book
from tests.unit.finetune.parts import picture, running, upload
from tests.unit.finetune.test_cluster_manifest import claim_of, made
from tests.unit.serving import refused


@pytest.fixture
def api(tmp_path):
    """State of a server, and settings that lead to it."""
    with serving_api(tmp_path) as (state, config):
        yield state, ClusterSettings(image="pequod:test", kubeconfig=str(config))


@pytest.fixture
async def open_stubs(api, tmp_path, monkeypatch):
    """Of a service whose places a Pod could reach, as far as it knows."""
    _, settings = api
    opening = "services.finetune.orchestrator.executors.cluster.opening.refusal"
    monkeypatch.setattr(opening, lambda *places: "")
    async with running(f"sqlite:///{tmp_path}/f.db", tmp_path, cluster=settings) as (stub, _):
        yield stub, v1.FineTuneServiceStub(stub.channel)


def spec_of(dataset_id, recipe="pretrain_lm", **fields):
    message = v1.JobSpec(recipe=recipe, dataset_id=dataset_id, executor=v1.EXECUTOR_KUBERNETES, **fields)
    if recipe == "pretrain_lm":
        json_format.ParseDict(TINY_LM, message.parameters)
    return message


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"resources": v1.Resources(accelerators=9)}, "spec.resources.accelerators", "0..8"),
        (
            {"resources": v1.Resources(accelerators=1, accelerator_type="a gpu")},
            "spec.resources.accelerator_type",
            "'a gpu' is no name of a resource",
        ),
        ({"resources": v1.Resources(queue="a/b")}, "spec.resources.queue", "no name of a Kueue queue"),
        (
            {"output": v1.Output(promotion=v1.PROMOTION_MANUAL)},
            "spec.output.promotion",
            "PEQUOD_FINETUNE_KUBERNETES_CLAIM",
        ),
    ],
)
async def test_bad_specs_name_the_field(open_stubs, fields, field, says):
    datasets, stub = open_stubs
    dataset = await upload(datasets, {"book.txt": book()})
    wanted = spec_of(dataset.dataset_id, **fields)
    code, message, where = await refused(stub.CreateJob(v1.CreateJobRequest(spec=wanted)))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, field)
    assert says in message


async def test_several_accelerators_are_for_recipes_that_use_them(open_stubs):
    datasets, stub = open_stubs
    dataset = await upload(datasets, {"1.png": picture(1), "2.png": picture(2)})
    wanted = spec_of(dataset.dataset_id, "train_gan", resources=v1.Resources(accelerators=2))
    code, message, where = await refused(stub.CreateJob(v1.CreateJobRequest(spec=wanted)))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, "spec.resources.accelerators")
    assert "0 or 1 for recipe train_gan, got 2; more are used by pretrain_lm" in message


async def test_a_base_in_a_folder_is_refused(open_stubs):
    datasets, stub = open_stubs
    dataset = await upload(datasets, {"1.png": picture(1), "2.png": picture(2)})
    wanted = spec_of(dataset.dataset_id, "dreambooth", base="file:/models/mine")
    code, message, where = await refused(stub.CreateJob(v1.CreateJobRequest(spec=wanted)))
    assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, "spec.base")
    assert "a Pod does not see" in message


async def test_folders_and_sqlite_are_refused_with_the_settings_to_change(api, tmp_path):
    async with running(f"sqlite:///{tmp_path}/f.db", tmp_path, cluster=api[1]) as (datasets, _):
        dataset = await upload(datasets, {"book.txt": book()})
        stub = v1.FineTuneServiceStub(datasets.channel)
        request = v1.CreateJobRequest(spec=spec_of(dataset.dataset_id))
        code, message, where = await refused(stub.CreateJob(request))
        assert (code, where) == (grpc.StatusCode.INVALID_ARGUMENT, "spec.executor")
        for name in ("PEQUOD_DATABASE_URL", "PEQUOD_STORE", "PEQUOD_DATASETS"):
            assert name in message


def test_places_that_a_pod_reaches_are_fine():
    settings, models = FinetuneSettings(datasets="s3://b/sets"), StoreSettings(user="gs://b/models")
    assert refusal(settings, models, "postgresql") == ""
    assert "PEQUOD_STORE" in refusal(settings, replace(models, user="file:///x"), "postgresql")


async def test_what_is_not_said_is_the_service_s(open_stubs):
    datasets, stub = open_stubs
    dataset = await upload(datasets, {"1.png": picture(1), "2.png": picture(2)})
    wanted = spec_of(dataset.dataset_id, "train_gan")
    job = (await stub.CreateJob(v1.CreateJobRequest(spec=wanted))).job
    assert (job.spec.resources.accelerators, job.spec.resources.accelerator_type) == (1, "nvidia.com/gpu")
    await stub.CancelJob(v1.CancelJobRequest(job_id=job.job_id))


def test_without_the_client_the_start_says_what_to_install(api, monkeypatch):
    monkeypatch.setitem(sys.modules, "kubernetes.client", None)
    with pytest.raises(SettingsError, match=r"pip install 'pequod\[kubernetes\]'"):
        ClusterApi(api[1])


@pytest.mark.parametrize("text", ["", "{}", "not: [yaml"])
def test_a_kubeconfig_that_is_none_stops_the_start(tmp_path, text):
    config = tmp_path / "config"
    config.write_text(text)
    for path in (config, tmp_path / "absent"):
        with pytest.raises(SettingsError, match="PEQUOD_FINETUNE_KUBERNETES_CONFIG"):
            ClusterApi(ClusterSettings(image="x", kubeconfig=str(path)))


def test_a_service_outside_a_cluster_needs_a_kubeconfig():
    with pytest.raises(SettingsError, match="PEQUOD_FINETUNE_KUBERNETES_CONFIG=''"):
        ClusterApi(ClusterSettings(image="x"))


def test_a_service_in_a_cluster_asks_as_its_account(tmp_path, monkeypatch):
    authority = Authority()
    own, key = authority.issue().write(tmp_path / "own", "api")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(own, key)
    for name, text in {
        "ca.crt": authority.certificate.decode(),
        "token": TOKEN,
        "namespace": NAMESPACE,
    }.items():
        (tmp_path / name).write_text(text)
    account = "kubernetes.config.incluster_config.SERVICE"
    monkeypatch.setattr(f"{account}_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{account}_CERT_FILENAME", str(tmp_path / "ca.crt"))
    monkeypatch.setattr(api_module, "_OWN_NAMESPACE", tmp_path / "namespace")
    with serving_api(tmp_path, tls) as (state, _):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", f"{state.port}")
        client = ClusterApi(ClusterSettings(image="x"))
        assert client.namespace == NAMESPACE
        assert client.create_job(made(claim_of())) is True
        assert len(client.list_jobs("")) == 1
        (tmp_path / "token").write_text("another")
        with pytest.raises(ServiceError, match="Unauthorized"):
            ClusterApi(ClusterSettings(image="x")).list_jobs("")


def test_a_manifest_that_kubernetes_refuses_stays_refused(api):
    client = ClusterApi(api[1])
    assert client.namespace == NAMESPACE
    bad = made(claim_of())
    bad["spec"]["backofLimit"] = 1
    with pytest.raises(ServiceError) as caught:
        client.create_job(bad)
    assert (caught.value.code, caught.value.reason) == (Code.INVALID_ARGUMENT, "LAUNCH_FAILED")
    assert "backofLimit" in caught.value.message
    nameless = made(claim_of())
    nameless["metadata"]["name"] = "No_Name"
    with pytest.raises(ServiceError, match="is invalid"):
        client.create_job(nameless)


def test_what_may_get_better_is_unavailable(api):
    state, settings = api
    for client in (ClusterApi(replace(settings, namespace="other")), ClusterApi(settings)):
        with pytest.raises(ServiceError) as caught:
            client.list_jobs("a=b")
        assert (caught.value.code, caught.value.reason) == (Code.UNAVAILABLE, "CLUSTER_UNREACHABLE")
        state.is_away = True


def test_deleting_what_is_gone_is_nothing(api):
    client = ClusterApi(api[1])
    assert client.create_job(made(claim_of())) is True
    assert client.create_job(made(claim_of())) is False
    name = made(claim_of())["metadata"]["name"]
    for _ in range(2):
        client.delete_job(name, "a=b", 5.0)
    assert client.list_jobs("") == []
