"""``hf:`` through the real huggingface_hub against a small hub, and ``file:`` inside allowed folders."""

import hashlib
import http.server
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.common.errors import Code, Reason
from services.common.store import Kind, ModelStore
from services.common.store.hub import Hub
from tests.unit.common.store_parts import disk_store, refused, write_files

FIRST, SECOND = "a" * 40, "b" * 40
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


@dataclass
class FakeHub:
    """What a hub serves: repositories of commits of files."""

    repos: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    branches: dict[str, dict[str, str]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """The reply to a GET or HEAD, as the hub's API gives it."""
        self.asked.append(path)
        path = path.partition("?")[0]
        api = path.startswith("/api/models/")
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        repo = "/".join(parts[:2])
        if repo not in self.repos:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if repo in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b"{}"
        named = parts[3] if len(parts) > 3 else "main"
        commit = self.branches[repo].get(named, named)
        files = self.repos[repo].get(commit)
        if files is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b"{}"
        if not api:
            return self._file(files, commit, "/".join(parts[4:]))
        if parts[2:3] == ["tree"]:
            return 200, {}, json.dumps([_entry(name, data) for name, data in files.items()]).encode()
        siblings = [{"rfilename": name} for name in files]
        return 200, {}, json.dumps({"id": repo, "sha": commit, "siblings": siblings}).encode()

    def _file(self, files, commit, name):
        if name not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        etag = f'"{hashlib.sha256(files[name]).hexdigest()}"'
        return 200, {"ETag": etag, "X-Repo-Commit": commit}, files[name]


def _entry(name: str, data: bytes) -> dict:
    oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": name, "size": len(data), "oid": oid}


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    fake = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, headers, body = fake.answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_port}"

    def stop():
        if thread.is_alive():
            server.shutdown()
            thread.join()
            server.server_close()

    fake.stop = stop
    yield fake
    stop()


def files_of(folder: Path, seed: int, **config) -> dict[str, bytes]:
    write_files(folder, seed)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}))
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def store(tmp_path, hub) -> ModelStore:
    hub.repos["org/tiny"] = {
        FIRST: files_of(tmp_path / "first", 1),
        SECOND: files_of(tmp_path / "second", 2),
    }
    hub.branches["org/tiny"] = {"main": SECOND, "v1": FIRST}
    made = disk_store(tmp_path)
    made._hub = Hub(tmp_path / "cache", endpoint=hub.url)
    return made


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


async def test_a_repository_becomes_a_version_pinned_to_its_commit(store, hub):
    version = await store.resolve("hf:org/tiny")
    assert (version.name, version.layer) == ("hf:org/tiny", "hub")
    assert version.version in SECOND or version.version == SECOND
    assert (version.manifest.kind, version.manifest.family) == (Kind.LANGUAGE_MODEL, "llama")
    folder = await store.fetch(version)
    assert (folder / "weights.safetensors").read_bytes() == hub.repos["org/tiny"][SECOND][
        "weights.safetensors"
    ]


async def test_a_revision_is_honoured(store, hub):
    folder = await store.fetch(await store.resolve("hf:org/tiny@v1"))
    assert (folder / "weights.safetensors").read_bytes() == hub.repos["org/tiny"][FIRST][
        "weights.safetensors"
    ]


async def test_what_was_fetched_once_works_offline(store, hub):
    before = await store.resolve("hf:org/tiny@v1")
    hub.stop()
    again = await store.resolve("hf:org/tiny@v1")
    assert again.digest == before.digest
    assert (await store.fetch(again)).is_dir()


async def test_nothing_cached_and_no_hub_says_so(store, hub):
    hub.stop()
    with refused(Code.UNAVAILABLE, Reason.HUB_UNREACHABLE, "hf:org/tiny"):
        await store.resolve("hf:org/tiny")


async def test_a_repository_of_pickles_is_refused_before_it_is_fetched(store, hub):
    hub.repos["org/pickled"] = {FIRST: {"config.json": b"{}", "pytorch_model.bin": b"\x80\x04."}}
    hub.branches["org/pickled"] = {"main": FIRST}
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, "pickle"):
        await store.resolve("hf:org/pickled")
    assert not any("pytorch_model.bin" in path for path in hub.asked)


async def test_pickles_beside_safe_weights_stay_where_they_are(store, hub):
    hub.repos["org/tiny"][SECOND]["pytorch_model.bin"] = b"\x80\x04."
    folder = await store.fetch(await store.resolve("hf:org/tiny"))
    assert not (folder / "pytorch_model.bin").exists()


@pytest.mark.parametrize("reference", ["hf:org/nothing", "hf:org/tiny@no-such-branch"])
async def test_what_the_hub_has_not_is_not_found(store, reference):
    with refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND, "the hub has no model"):
        await store.resolve(reference)


async def test_a_gated_repository_asks_for_a_token(store, hub):
    hub.gated.add("org/tiny")
    with refused(Code.PERMISSION_DENIED, Reason.MODEL_NOT_FOUND, "HF_TOKEN"):
        await store.resolve("hf:org/tiny")


async def test_a_local_directory_inside_an_allowed_folder(tmp_path):
    files_of(tmp_path / "mine" / "model", 1, architectures=["BertModel"], model_type="bert")
    store = disk_store(tmp_path, file_roots=[tmp_path / "mine"])
    version = await store.resolve(f"file:{tmp_path}/mine/model")
    assert (version.manifest.kind, version.layer) == (Kind.TEXT_EMBEDDER, "file")
    assert (await store.fetch(version)) == (tmp_path / "mine" / "model").resolve()


async def test_a_local_directory_elsewhere_is_refused(tmp_path):
    files_of(tmp_path / "other" / "model", 1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "link").symlink_to(tmp_path / "other" / "model")
    store = disk_store(tmp_path, file_roots=[tmp_path / "mine"])
    for path in (f"{tmp_path}/other/model", f"{tmp_path}/mine/link"):
        with refused(Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH, "PEQUOD_FILE_ROOTS"):
            await store.resolve(f"file:{path}")


async def test_of_a_pipeline_only_what_it_is_opened_from_is_fetched(store, hub):
    data = (hub.repos["org/tiny"][FIRST]["weights.safetensors"], b"{}")
    names = ["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"]
    weights_ = dict.fromkeys([*names, "all-in-one.safetensors", "safety_checker/model.safetensors"], data[0])
    hub.repos["org/pipe"] = {FIRST: {"model_index.json": data[1], "unet/config.json": data[1], **weights_}}
    hub.branches["org/pipe"] = {"main": FIRST}
    version = await store.resolve("hf:org/pipe")
    assert (version.manifest.kind, version.manifest.family) == (Kind.DIFFUSION, "diffusers")
    folder = await store.fetch(version)
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == ["model_index.json", "unet/config.json", names[0]]
    hub.stop()
    assert (await store.fetch(await store.resolve("hf:org/pipe"))) == folder
