"""Two tenants on one platform: what one made, the other cannot list, read, use, change or delete.

Every RPC there is gets asked, also those that are still to be written: requests are filled in by the names
of their fields.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import grpc
import pytest
from google.protobuf.descriptor import FieldDescriptor

from gateway.methods import method_table
from services.common.catalogue import SERVICES
from tests.e2e.conftest import QUIET, started
from tests.unit.finetune.job_parts import book

METHODS = method_table(SERVICES)
SECRET = "acmes-own"
MODEL_FIELDS = {"model", "adapter", "base", "feature_model"}
LISTS = {path for path in METHODS if path.rpartition("/")[2].startswith("List")} - {
    "/pequod.finetune.v1.FineTuneService/ListCheckpoints"
}


@dataclass
class Shop:
    """A platform on which acme has a data set, a job and a model, and the keys of three."""

    platform: object
    keys: dict
    ids: dict

    def run(self, who, *arguments, **options):
        self.platform.environment["PEQUOD_API_KEY"] = self.keys[who]
        return self.platform.run(*arguments, **options)

    def call(self, who, path, request):
        """The replies as bytes, or the code of the refusal and its words."""
        method = METHODS[path]
        metadata = (("authorization", f"Bearer {self.keys[who]}"),)
        with grpc.insecure_channel(self.platform.grpc) as channel:
            kind = f"{arity(method.request_streaming)}_{arity(method.response_streaming)}"
            sent = request.SerializeToString()
            given = iter([sent]) if method.request_streaming else sent
            try:
                reply = getattr(channel, kind)(path)(given, metadata=metadata, timeout=60)
                replies = list(reply) if method.response_streaming else [reply]
            except grpc.RpcError as error:
                return error.code(), error.details()
        return grpc.StatusCode.OK, b"".join(replies)


def arity(streams):
    return "stream" if streams else "unary"


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tenants")
    (folder / "books").mkdir()
    (folder / "books/0.txt").write_bytes(book(0))
    with started(folder, **QUIET) as platform:
        keys = {}
        for name, tenant in (("acme", "acme"), ("other", "other"), ("local", "local")):
            made = platform.run("keys", "create", name, "--tenant", tenant, "--json")
            assert made.returncode == 0, made.stderr
            keys[name] = json.loads(made.stdout)["key"]
        wait_for_keys(platform)
        shop = Shop(platform, keys, {})
        train = ("--recipe", "ngram", "--set", "order=2", "--name", SECRET, "--watch")
        done = shop.run("acme", "finetune", "books", *train, timeout=100)
        assert done.returncode == 0, done.stderr
        [job] = json.loads(shop.run("acme", "jobs", "ls", "--json").stdout)["jobs"]
        [dataset] = json.loads(shop.run("acme", "datasets", "ls", "--json").stdout)["datasets"]
        [best] = json.loads(shop.run("acme", "jobs", "checkpoints", job["jobId"], "--json").stdout)[
            "checkpoints"
        ]
        shop.ids = {
            "job_id": job["jobId"],
            "dataset_id": dataset["datasetId"],
            "checkpoint_id": best["checkpointId"],
        }
        yield shop


def wait_for_keys(platform):
    """The gateway looks at the file every second."""
    for _ in range(200):
        status, _ = platform.post("pequod.model.v1.ModelService/ListModels", {})
        if status == 401:
            return
    pytest.fail("the gateway never asked for a key")


def filled(shop, message, depth=3):
    """``message`` with acme's records in every field that can name one; whether there was such a field."""
    names = False
    for field in message.DESCRIPTOR.fields:
        repeated = field.is_repeated
        if field.type == FieldDescriptor.TYPE_STRING and not repeated:
            value = shop.ids.get(field.name) or (SECRET if field.name in MODEL_FIELDS else None)
            if value:
                setattr(message, field.name, value)
                names = True
        elif (
            field.type == FieldDescriptor.TYPE_MESSAGE
            and not repeated
            and depth
            and not field.containing_oneof
        ):
            names |= filled(shop, getattr(message, field.name), depth - 1)
    return names


def is_plain_message(field):
    return field.type == FieldDescriptor.TYPE_MESSAGE and not (field.is_repeated or field.containing_oneof)


def request_for(shop, path):
    """A request about acme's records, well formed as far as its service looks before it finds them."""
    method = METHODS[path]
    request = method.request_type()
    names = filled(shop, request)
    name = path.rpartition("/")[2]
    if name == "SetAlias":
        request.name, request.alias, request.version = SECRET, "production", "1"
        names = True
    if name == "ExportModel":
        request.format = 1
    if name == "CreateJob":
        request.spec.base = ""
        request.spec.recipe = "ngram"
    if hasattr(request, "prompt"):
        request.prompt = "a"
    return request, names


@pytest.mark.parametrize("path", sorted(METHODS))
def test_nobody_sees_anothers(shop, path):
    request, names = request_for(shop, path)
    code, told = shop.call("other", path, request)
    leaks = (SECRET, *shop.ids.values())
    if path in LISTS:
        assert code is grpc.StatusCode.OK, told
        assert not any(each.encode() in told for each in leaks)
    elif names:
        assert code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT), (code, told)
        if reads(path):
            assert shop.call("acme", path, request)[0] is not grpc.StatusCode.NOT_FOUND


def reads(path):
    """Whether acme may be asked the same, of a service that has it, and changes nothing by it."""
    _, service, name = path.split("/")
    asks = name.startswith(("Get", "List", "Generate", "NextTokens"))
    return asks and service.startswith(("pequod.finetune.", "pequod.sampler.", "pequod.model."))


def test_what_is_asked_for_by_another_is_not_found_for_the_right_reason(shop):
    """The sharpest of them by name, so that the net above cannot grow holes unseen."""
    expected = {
        "/pequod.finetune.v1.DatasetService/GetDataset",
        "/pequod.finetune.v1.DatasetService/DeleteDataset",
        "/pequod.finetune.v1.FineTuneService/GetJob",
        "/pequod.finetune.v1.FineTuneService/WatchJob",
        "/pequod.finetune.v1.FineTuneService/CancelJob",
        "/pequod.finetune.v1.FineTuneService/PauseJob",
        "/pequod.finetune.v1.FineTuneService/ResumeJob",
        "/pequod.finetune.v1.FineTuneService/DeleteJob",
        "/pequod.finetune.v1.FineTuneService/ListCheckpoints",
        "/pequod.finetune.v1.FineTuneService/PromoteCheckpoint",
        "/pequod.finetune.v1.FineTuneService/CreateJob",
        "/pequod.model.v1.ModelService/GetModel",
        "/pequod.model.v1.ModelService/LoadModel",
        "/pequod.model.v1.ModelService/UnloadModel",
        "/pequod.model.v1.ModelService/WatchModel",
        "/pequod.model.v1.ModelService/SetAlias",
        "/pequod.model.v1.ModelService/ExportModel",
        "/pequod.sampler.v1.SamplerService/Generate",
        "/pequod.sampler.v1.SamplerService/GenerateStream",
        "/pequod.sampler.v1.SamplerService/NextTokens",
    }
    for who in ("other", "local"):
        codes = {path: shop.call(who, path, request_for(shop, path)[0])[0] for path in sorted(expected)}
        assert codes == dict.fromkeys(sorted(expected), grpc.StatusCode.NOT_FOUND)


def test_a_name_is_one_tenants(shop):
    taken = shop.run(
        "other", "finetune", "books", "--recipe", "ngram", "--name", SECRET, "--watch", timeout=100
    )
    assert taken.returncode == 1
    assert "another tenant's" in taken.stderr


def test_shared_models_are_for_all_to_use_and_for_none_to_move(shop):
    assert shop.run("other", "text", "--model", "moby-ngram", "--seed", "1", "THE ").returncode == 0
    moved = shop.run("other", "models", "alias", "moby-ngram", "production", "1")
    assert moved.returncode == 1
    assert "shared by all tenants" in moved.stderr


def test_keys_without_their_text_are_in_the_list_and_changes_in_the_audit_log(shop):
    listed = shop.run("acme", "keys", "ls").stdout
    assert all(key not in listed for key in shop.keys.values())
    assert "acme" in listed
    lines = (shop.platform.folder / "var/keys/audit.jsonl").read_text().splitlines()
    methods = [json.loads(line)["method"] for line in lines]
    assert "keys create" in methods
    assert "pequod.finetune.v1.FineTuneService/CreateJob" in methods
    logs = shop.platform.logs()
    assert all(key not in logs and key.split("_", 2)[2] not in logs for key in shop.keys.values())


def test_usage_is_kept_by_key(shop):
    assert shop.run("other", "text", "--model", "moby-ngram", "--seed", "1", "THE ").returncode == 0
    for _ in range(100):
        rows = json.loads(shop.run("acme", "usage", "--by", "tenant,key,model", "--json").stdout)["usage"]
        if any(row["key"] == "other" and row["model"] == "moby-ngram" for row in rows):
            return
    pytest.fail(f"the call is not in {rows}")


def test_a_revoked_key_opens_nothing_any_more(shop):
    made = json.loads(shop.run("acme", "keys", "create", "brief", "--json").stdout)
    shop.keys["brief"] = made["key"]
    path = "/pequod.model.v1.ModelService/ListModels"
    wait_for(lambda: shop.call("brief", path, METHODS[path].request_type())[0] is grpc.StatusCode.OK)
    assert shop.run("acme", "keys", "revoke", made["id"]).returncode == 0
    wait_for(
        lambda: shop.call("brief", path, METHODS[path].request_type())[0] is grpc.StatusCode.UNAUTHENTICATED
    )
    assert shop.run("acme", "keys", "revoke", "000000000000").returncode == 1


def wait_for(seen):
    for _ in range(400):
        if seen():
            return
    pytest.fail("it was never seen")
