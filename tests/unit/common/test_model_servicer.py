"""ModelService over real gRPC: lists, loads, watches, exports and names models."""

import asyncio
import threading

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from pequod.model import v1 as pb
from services.common.errors import Code, Reason, ServiceError
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from services.common.residency.export import Exported, ParityFigure
from services.common.rpc.interceptors import CallInterceptor
from services.common.rpc.model_servicer import ModelServicer
from services.common.rpc.resources import Resources
from services.common.rpc.status import DETAILS_KEY
from services.common.store import FileEntry, Kind
from services.common.store.settings import StoreSettings
from tests.unit.common.store_parts import disk_store, publish


class Loader:
    """Loads anything as its own name; a version whose config says so waits, or takes more memory."""

    kinds = frozenset({Kind.NGRAM, Kind.ENCODING})

    def __init__(self):
        self.gate = threading.Event()

    def memory_bytes(self, version, path):
        return version.manifest.config.get("bytes", 10)

    def load(self, version, path):
        if version.manifest.config.get("slow"):
            assert self.gate.wait(30)
        if version.manifest.config.get("broken"):
            raise ValueError("no model in these files")
        return str(version)

    def warm_up(self, model):
        pass

    def close(self, model):
        pass


class FakeExporter:
    """Two steps and a result; or an error; or steps without end."""

    def __init__(self):
        self.calls = []
        self.ended = threading.Event()

    def export(self, version, folder, target, force, step):
        self.calls.append((str(version), target, force))
        try:
            if target == "torchscript":
                raise ServiceError(Code.INTERNAL, Reason.PARITY_FAILED, "outputs differ by 0.5")
            while target == "triton":
                step(0, 0, "again")
                threading.Event().wait(0.01)
            step(1, 2, "writing")
            step(2, 2, "checking")
        finally:
            self.ended.set()
        entry = FileEntry(path="m.onnx", size_bytes=3, sha256="0" * 64)
        return Exported(folder, (entry,), (ParityFigure("y", 1e-6, 1.0, 1e-4),), 18, {"torch": "2"}, False)


@pytest.fixture
async def world(tmp_path):
    """A stub over a service with models a:1, a:2, b:1, slow:1, big:1 and broken:1."""
    store = disk_store(tmp_path)
    for name, version, config in [
        *(("a", "1", {}), ("a", "2", {}), ("b", "1", {"order": 5, "alphabet": {"kind": "text"}})),
        *(("slow", "1", {"slow": 1}), ("big", "1", {"bytes": 1000}), ("broken", "1", {"broken": 1})),
    ]:
        await publish(store, tmp_path, name, version, config=config)
    await publish(store, tmp_path, "words", kind=Kind.ENCODING)
    await publish(store, tmp_path, "foreign", kind=Kind.GAN)
    loader, exporter = Loader(), FakeExporter()
    manager = ModelManager(store, loader, Metrics("toys"), budget_bytes=100)
    await manager.start()
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics("toys"))])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/one.bin").write_bytes(b"x" * 123)
    settings = StoreSettings(user=str(tmp_path / "mine"), cache=tmp_path / "cache", cache_bytes=1000)
    resources = Resources([manager], settings)
    pb.add_ModelServiceServicer_to_server(ModelServicer(manager, "toys", exporter, resources), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = pb.ModelServiceStub(channel)
        stub.loader, stub.exporter = loader, exporter
        yield stub
    loader.gate.set()
    await server.stop(None)
    await manager.close()


async def failure(call):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def reason(error):
    rich = status_pb2.Status.FromString(dict(error.trailing_metadata())[DETAILS_KEY])
    info = error_details_pb2.ErrorInfo()
    assert rich.details[0].Unpack(info)
    return info.reason


async def test_pages_join_to_the_sorted_whole(world):
    names, token = [], ""
    while True:
        page = await world.ListModels(pb.ListModelsRequest(page_size=2, page_token=token))
        names += [f"{m.name}:{m.version}" for m in page.models]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a:1", "a:2", "b:1", "big:1", "broken:1", "slow:1", "words:1"]


async def test_the_kind_filters(world):
    reply = await world.ListModels(pb.ListModelsRequest(kind=pb.MODEL_KIND_ENCODING))
    assert [m.name for m in reply.models] == ["words"]


async def test_what_is_held_is_told_to_who_asks(world):
    assert not (await world.ListModels(pb.ListModelsRequest())).HasField("resources")
    await world.LoadModel(pb.LoadModelRequest(model="a:1"))
    (held,) = (await world.ListModels(pb.ListModelsRequest(resources=True))).resources.services
    assert (held.service, held.memory_bytes, held.memory_budget_bytes) == ("toys", 10, 100)
    disks = {each.name: each for each in held.disks}
    assert (disks["cache"].used_bytes, disks["store"].used_bytes) == (123, 0)
    assert (disks["cache"].limit_bytes, disks["store"].limit_bytes) == (1000, 0)
    assert disks["cache"].free_bytes > 0
    assert disks["store"].free_bytes > 0  # of the disk that it will be on


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"page_size": 1001}, "page_size"), ({"page_token": "?"}, "page_token"), ({"kind": 99}, "kind")],
)
async def test_bad_paging_names_its_field(world, fields, field):
    error = await failure(world.ListModels(pb.ListModelsRequest(**fields)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith(field)


async def test_a_model_is_described(world):
    model = (await world.GetModel(pb.GetModelRequest(model="b"))).model
    assert (model.name, model.version, model.service, model.layer) == ("b", "1", "toys", "user")
    assert (model.kind, model.state) == (pb.MODEL_KIND_NGRAM, pb.MODEL_STATE_AVAILABLE)
    assert model.config["order"] == 5
    assert {f.path for f in model.files} == {"weights.safetensors", "tokenizer.json"}
    assert len(model.digest) == 64


@pytest.mark.parametrize(
    ("reference", "code"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT),
        ("../a", grpc.StatusCode.INVALID_ARGUMENT),
        ("aa", grpc.StatusCode.NOT_FOUND),
        ("foreign", grpc.StatusCode.NOT_FOUND),
    ],
)
async def test_a_reference_that_is_none(world, reference, code):
    assert (await failure(world.GetModel(pb.GetModelRequest(model=reference)))).code() == code


async def test_load_unload_and_load_again(world):
    for _ in range(2):
        loaded = (await world.LoadModel(pb.LoadModelRequest(model="a:1"))).model
        assert (loaded.state, loaded.memory_bytes) == (pb.MODEL_STATE_READY, 10)
        unloaded = (await world.UnloadModel(pb.UnloadModelRequest(model="a:1"))).model
        assert unloaded.state == pb.MODEL_STATE_AVAILABLE


async def test_a_model_beyond_the_budget_is_refused_with_the_counts(world):
    error = await failure(world.LoadModel(pb.LoadModelRequest(model="big")))
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason(error) == "MEMORY_BUDGET"
    assert "1000" in error.details()
    assert "100" in error.details()


async def test_a_failed_load_says_so_and_stays_visible(world):
    error = await failure(world.LoadModel(pb.LoadModelRequest(model="broken")))
    assert reason(error) == "LOAD_FAILED"
    model = (await world.GetModel(pb.GetModelRequest(model="broken"))).model
    assert model.state == pb.MODEL_STATE_FAILED
    assert "broken" in model.error


async def test_watching_until_ready(world):
    watch = world.WatchModel(pb.WatchModelRequest(model="slow", until=pb.MODEL_STATE_READY))
    assert (await watch.read()).model.state == pb.MODEL_STATE_AVAILABLE
    load = world.LoadModel(pb.LoadModelRequest(model="slow"))
    states = []
    while (event := await watch.read()) is not grpc.aio.EOF:
        states.append(event.model.state)
        if event.model.state == pb.MODEL_STATE_LOADING:
            world.loader.gate.set()
    assert states[-1] == pb.MODEL_STATE_READY
    assert pb.MODEL_STATE_LOADING in states
    assert (await load).model.name == "slow"


async def test_watching_ends_when_the_load_fails(world):
    watch = world.WatchModel(pb.WatchModelRequest(model="broken", until=pb.MODEL_STATE_READY))
    await watch.read()
    await failure(world.LoadModel(pb.LoadModelRequest(model="broken")))
    states = []
    while (event := await watch.read()) is not grpc.aio.EOF:
        states.append(event.model.state)
    assert states[-1] == pb.MODEL_STATE_FAILED


async def test_aliases_move_and_conflicts_are_told(world):
    first = await world.SetAlias(pb.SetAliasRequest(name="a", alias="production", version="1"))
    assert (first.previous_version, list(first.model.aliases)) == ("", ["production"])
    request = pb.SetAliasRequest(name="a", alias="production", version="2", expected_version="2")
    error = await failure(world.SetAlias(request))
    assert (error.code(), reason(error)) == (grpc.StatusCode.ABORTED, "ALIAS_CONFLICT")
    request.expected_version = "1"
    assert (await world.SetAlias(request)).previous_version == "1"
    gone = await world.SetAlias(pb.SetAliasRequest(name="a", alias="production"))
    assert gone.previous_version == "2"
    assert not gone.HasField("model")


async def test_an_export_streams_its_steps_then_its_figures(world):
    request = pb.ExportModelRequest(model="a", format=pb.EXPORT_FORMAT_ONNX, force=True)
    *steps, last = [event async for event in world.ExportModel(request)]
    assert [step.progress.message for step in steps] == ["writing", "checking"]
    assert last.files[0].path == "m.onnx"
    assert (last.parity[0].output, last.opset, last.runtime_versions["torch"]) == ("y", 18, "2")
    assert world.exporter.calls == [("a:2", "onnx", True)]


async def test_an_exporters_error_reaches_the_caller(world):
    request = pb.ExportModelRequest(model="a", format=pb.EXPORT_FORMAT_TORCHSCRIPT)
    error = await failure(world.ExportModel(request).read())
    assert reason(error) == "PARITY_FAILED"


async def test_an_export_ends_when_its_caller_leaves(world):
    call = world.ExportModel(pb.ExportModelRequest(model="a", format=pb.EXPORT_FORMAT_TRITON))
    await call.read()
    call.cancel()
    assert await asyncio.to_thread(world.exporter.ended.wait, 10)


async def test_an_export_without_a_format_is_refused(world):
    error = await failure(world.ExportModel(pb.ExportModelRequest(model="a")).read())
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert error.details().startswith("format")


async def test_a_service_that_exports_nothing_says_so(tmp_path):
    manager = ModelManager(disk_store(tmp_path), Loader(), Metrics("toys"), budget_bytes=100)
    call = ModelServicer(manager, "toys").ExportModel(
        pb.ExportModelRequest(model="a", format=pb.EXPORT_FORMAT_ONNX), None
    )
    with pytest.raises(ServiceError, match="exports no models"):
        await anext(call)
