"""What must never be told is in no log, metric, status, audit line or usage row, nor in an error."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

import inference as kserve
from gateway.methods import method_table
from pequod.finetune import v1 as finetune
from pequod.sampler import v1 as sampler
from services.common.catalogue import SERVICES
from tests.e2e.conftest import QUIET, started
from tests.unit.finetune.job_parts import book

pytestmark = pytest.mark.timeout(900)  # the first test starts the platform and tries everything

METHODS = method_table(SERVICES)
GENERATE = "/pequod.sampler.v1.SamplerService/Generate"
CREATE = "/pequod.finetune.v1.FineTuneService/CreateJob"
IMPORT = "/pequod.finetune.v1.DatasetService/ImportDataset"
AWAY = "127.0.0.1:1"
"""Where nobody answers."""
VARIABLES = (
    *(
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ),
    *("AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "GOOGLE_SERVICE_ACCOUNT_KEY", "PGPASSWORD"),
)
"""That hold secrets of the operator."""
FORMS = {
    "url": "postgresql://pequod:{}@db/usage",
    "platform-key": "pq_0123456789ab_{}" + "x" * 9,
    "bearer": "authorization: Bearer {}",
    "token": "eyJhbGciOiJub25lIn0.{}.sig",
    "hub-token": "hf_{}",
    "parameter": "https://bucket/a?X-Amz-Signature={}&x=1",
}
"""How other programs' words hold what none of the variables does."""


def canary(name):
    return f"canary-{name}-{secrets.token_hex(8)}"


@dataclass
class Watched:
    """A platform that knows secrets, and what it said."""

    platform: object
    key: str
    secret: dict
    said: dict
    prompts: dict
    answers: list = field(default_factory=list)
    last: bytes = b""
    jobs: str = ""

    def http(self, path, body=None, key=None, method=None):
        headers = {"content-type": "application/json", "authorization": f"Bearer {key or self.key}"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.platform.http + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                status, text = reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                status, text = error.code, error.read().decode()
        self.answers.append(text)
        return status, text

    def grpc(self, path, request, key=None):
        method = METHODS.get(path)
        kind = f"unary_{'stream' if method and method.response_streaming else 'unary'}"
        metadata = (("authorization", f"Bearer {key or self.key}"),)
        with grpc.insecure_channel(self.platform.grpc) as channel:
            try:
                reply = getattr(channel, kind)(path)(
                    request.SerializeToString(), metadata=metadata, timeout=60
                )
                replies = list(reply) if kind.endswith("stream") else [reply]
            except grpc.RpcError as error:
                self.answers.append(f"{error.details()} {error.trailing_metadata()}")
                return error.code()
        self.last = replies[-1]
        self.answers += [each.decode(errors="replace") for each in replies]
        return grpc.StatusCode.OK


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    secret = {name: canary(name) for name in ("webhook", "query", "wrong-key", "jwt")}
    variables = {name: canary(name) for name in VARIABLES}
    forms = {name: secrets.token_hex(17) for name in FORMS}
    said = [f"{name}={value}" for name, value in variables.items()]
    said += [form.format(forms[name]) for name, form in FORMS.items()]
    settings = {
        **variables,
        "PEQUOD_TEST_SAID": f"no sense: {'; '.join(said)}; no more",
        "HF_ENDPOINT": f"http://{AWAY}",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{AWAY}",
        "PEQUOD_IMPORT_FROM": "https://,s3://bucket",
        "PEQUOD_WEBHOOK_PRIVATE": "1",
        "PEQUOD_LOG_LEVEL": "debug",
        "PYTHONPATH": f"{Path(__file__).parent / 'broken'}:{Path(__file__).parents[2]}",
    }
    with started(folder, **QUIET, **settings) as platform:
        made = platform.run("keys", "create", "shop", "--json")
        assert made.returncode == 0, made.stderr
        key = json.loads(made.stdout)["key"]
        secret |= {"key": key.split("_", 2)[2], "digests": (folder / "var/keys/secret").read_text()}
        platform.environment["PEQUOD_API_KEY"] = key
        prompts = {
            name: canary(name) for name in ("good", "bad", "bug", "openai", "kserve", "text", "stream")
        }
        until(lambda: platform.post(GENERATE[1:], {})[0] == 401)
        yield Watched(platform, key, secret, variables | forms, prompts)


def until(seen, seconds=60):
    ends = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < ends, "it was never seen"
        time.sleep(0.1)


def call_over_all_doors(watched):
    say, model = watched.prompts, "moby-ngram"
    ask = sampler.GenerateRequest(model=model, prompt=say["good"].upper())
    ask.sampling.seed = 1
    assert watched.grpc(GENERATE, ask) is grpc.StatusCode.OK
    assert watched.grpc(GENERATE, ask, watched.secret["wrong-key"]) is grpc.StatusCode.UNAUTHENTICATED
    assert (
        watched.grpc(GENERATE, sampler.GenerateRequest(model=model, prompt=say["bug"]))
        is grpc.StatusCode.INTERNAL
    )
    bad = sampler.GenerateRequest(model=model, prompt=say["bad"], n=99)
    assert watched.grpc(GENERATE, bad) is grpc.StatusCode.INVALID_ARGUMENT
    infer = kserve.ModelInferRequest(model_name=model)
    infer.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        say["kserve"].encode()
    )
    assert watched.grpc("/inference.GRPCInferenceService/ModelInfer", infer) is grpc.StatusCode.INTERNAL

    assert (
        watched.http(GENERATE, {"model": model, "prompt": say["stream"], "sampling": {"seed": 1}})[0] == 200
    )
    assert watched.http(GENERATE, {"model": model, "prompt": say["bug"]})[0] == 500
    assert watched.http(GENERATE, {"model": model, "prompt": say["bad"], "nn": 1})[0] == 400
    assert watched.http("/v1/completions", {"model": model, "prompt": say["openai"], "seed": 1})[0] == 200
    assert watched.http("/v1/completions", {"model": model, "prompt": say["openai"]})[0] == 500
    assert watched.http("/v1/completions", {"model": model, "prompt": say["openai"], "n": 99})[0] == 400
    assert watched.http("/v1/models", key=f"eyJhbGciOiJub25lIn0.e30.{watched.secret['jwt']}")[0] == 401
    assert watched.http(f"/v2/models/{model}/generate", {"text_input": say["kserve"], "seed": 1})[0] == 200
    assert watched.http(f"/v1/models?key={watched.secret['query']}", key="nonsense")[0] == 401


def ask_places_that_do_not_answer(watched):
    load = {"model": "hf:nobody/nothing"}
    assert watched.http("/pequod.sampler.v1.SamplerService/Score", {**load, "text": "a b"})[0] == 503
    for uri in (
        f"https://user:{watched.secret['query']}@example.invalid/a.zip",
        f"https://example.invalid/a.zip?token={watched.secret['query']}",
        "s3://bucket/data",
    ):
        watched.grpc(IMPORT, finetune.ImportDatasetRequest(uri=uri))


def run_jobs_that_fail_and_a_webhook_that_nobody_hears(watched):
    folder = watched.platform.folder / "books"
    folder.mkdir()
    (folder / "a.txt").write_bytes(book(0) + watched.prompts["text"].encode())
    sent = watched.platform.run("datasets", "upload", "books", "--json", timeout=100)
    assert sent.returncode == 0, sent.stderr
    dataset = found(json.loads(sent.stdout.splitlines()[-1]), "datasetId")
    states = [finetune.JOB_STATE_FAILED, finetune.JOB_STATE_SUCCEEDED, finetune.JOB_STATE_CANCELLED]
    hook = f"http://{AWAY}/hook?token={watched.secret['query']}"
    for order in (2, 3):
        spec = finetune.JobSpec(recipe="ngram", dataset_id=dataset, base="")
        spec.parameters.update({"order": order})
        spec.webhooks.add(url=hook, secret=watched.secret["webhook"], states=states)
        assert watched.grpc(CREATE, finetune.CreateJobRequest(spec=spec)) is grpc.StatusCode.OK
        made = finetune.CreateJobResponse.FromString(watched.last)
        watched.jobs += told_of_a_failed_job(watched, made.job.job_id)
    until(lambda: "webhook of job" in told_in_logs(watched))


def told_of_a_failed_job(watched, job_id):
    """Everything that its owner reads of it, once it has failed."""
    run = watched.platform.run
    events = run("jobs", "watch", job_id, "--json", timeout=100)
    ended = json.loads(events.stdout.splitlines()[-1])
    assert ended["state"] == "JOB_STATE_FAILED", events.stdout
    shown, written = run("jobs", "show", job_id), run("jobs", "report", job_id, "-o", f"{job_id}.html")
    assert written.returncode == 0, written.stderr
    page = (watched.platform.folder / f"{job_id}.html").read_text()
    return "\n".join((events.stdout, events.stderr, shown.stdout, page))


def found(value, name):
    """The first field ``name`` anywhere in ``value``."""
    if isinstance(value, dict):
        return value.get(name) or next((x for each in value.values() if (x := found(each, name))), None)
    return None


def told_in_logs(watched):
    folder = watched.platform.folder / "var"
    files = [
        *folder.glob("log/*.log"),
        *folder.glob("finetune/work/**/log.txt"),
        *folder.glob("keys/audit.jsonl"),
    ]
    return "\n".join(file.read_text(errors="replace") for file in files)


def told(watched):
    """Everything that people other than the caller may read."""
    ports = [watched.platform.environment[f"PEQUOD_{service.name.upper()}_SIDE_PORT"] for service in SERVICES]
    pages = [f"{watched.platform.admin}/metrics", *(f"http://127.0.0.1:{port}/metrics" for port in ports)]
    texts = [told_in_logs(watched)]
    for page in pages:
        with urllib.request.urlopen(page, timeout=10) as reply:
            texts.append(reply.read().decode())
    for command in (("status", "--json"), ("usage", "--by", "tenant,key,model,method", "--json")):
        done = watched.platform.run(*command)
        texts.append(done.stdout + done.stderr)
    return "\n".join(texts)


def test_a_database_that_is_away_at_the_start_is_named_without_its_password(tmp_path):
    password = canary("database")
    url = f"postgresql://pequod:{password}@{AWAY}/usage"
    environ = {**os.environ, "PEQUOD_GATEWAY_DATABASE_URL": url, "PEQUOD_GATEWAY_PORT": "0"}
    command = [sys.executable, "-m", "gateway"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode != 0
    assert "refused" in done.stderr
    assert password not in done.stdout + done.stderr


@pytest.fixture(scope="module")
def tried(watched):
    """The platform after calls of every kind, good and bad."""
    call_over_all_doors(watched)
    ask_places_that_do_not_answer(watched)
    run_jobs_that_fail_and_a_webhook_that_nobody_hears(watched)
    return watched


def leaks(secrets_, text):
    """The lines of ``text`` that hold one of them, by its name."""
    lines = text.splitlines()
    return {
        name: [line[:600] for line in lines if value.lower() in line.lower()][:2]
        for name, value in secrets_.items()
        if value.lower() in text.lower()
    }


def test_nothing_of_it_was_told(tried):
    everything = told(tried)
    assert "no dice" in everything  # the bug's trace is there, so the search looks where it happened
    assert "RuntimeError: no sense" in everything  # and the failed job's
    assert "CreateJob" in everything
    found_ = leaks({**tried.secret, **tried.said, **tried.prompts}, everything)
    assert not found_, found_


def test_a_failed_job_tells_its_owner_no_secret_of_the_platform(tried):
    assert tried.jobs.count('"RECIPE_FAILED"') >= 2, "an event and the job itself"
    assert "no sense: HF_TOKEN=***" in tried.jobs
    assert "postgresql://***@db/usage" in tried.jobs
    assert '"INTERNAL"' in tried.jobs
    found_ = leaks({**tried.said, "webhook": tried.secret["webhook"]}, tried.jobs)
    assert not found_, found_


def test_no_answer_holds_a_secret(tried):
    answers = "\n".join(tried.answers)
    assert "internal error, request id" in answers
    assert "no dice" not in answers
    mine = {name: text for name, text in tried.secret.items() if name != "query"}
    found_ = leaks({**mine, **tried.said}, answers)
    assert not found_, found_
