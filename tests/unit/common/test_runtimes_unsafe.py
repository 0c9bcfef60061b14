"""Files that no runtime opens: changed, broken, or able to run code when read."""

import hashlib
import json
from pathlib import Path

import pytest
import torch

from services.common.errors import Code, Reason, ServiceError
from services.common.export import export_graphs
from services.common.runtimes import open_runtime
from tests.unit.common.tiny_modules import (
    FILES,
    encoder_spec,
)


@pytest.fixture(scope="module", params=FILES, ids=str)
def kept(request, tmp_path_factory):
    """The path of an exported encoder."""
    folder = tmp_path_factory.mktemp("kept") / "export"
    export_graphs({"model": encoder_spec()}, folder, request.param)
    return folder / FILES[request.param]


@pytest.fixture
def copied(kept, tmp_path):
    """The artefact and its manifest, free to be damaged."""
    for file in kept.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / kept.name


def test_a_changed_file_of_an_export_is_refused(copied):
    content = bytearray(copied.read_bytes())
    content[len(content) // 2] ^= 1
    copied.write_bytes(content)
    with pytest.raises(ServiceError, match=copied.name) as caught:
        open_runtime(copied, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.DATA_LOSS, Reason.FILE_TAMPERED)


def test_torchscript_needs_our_own_export_manifest(copied):
    manifest = copied.with_name("export.json")
    record = json.loads(manifest.read_text())
    record["files"] = []
    for written in (json.dumps(record), None):
        manifest.write_text(written) if written else manifest.unlink()
        if copied.suffix == ".onnx":
            open_runtime(copied, threads=1).close()  # ONNX holds no code: any file may be read
            continue
        with pytest.raises(ServiceError, match="only when its digest stands") as caught:
            open_runtime(copied, threads=1)
        assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT)


def test_a_manifest_that_is_none_disowns_its_files(copied):
    copied.with_name("export.json").write_text("{}")
    with pytest.raises(ServiceError, match=r"export\.json is no export manifest") as caught:
        open_runtime(copied, threads=1)
    assert caught.value.reason is Reason.FILE_TAMPERED


def test_garbage_that_a_manifest_vouches_for_is_a_failed_load(copied):
    manifest = copied.with_name("export.json")
    digest = json.loads(manifest.read_text())["files"][0]["sha256"]
    copied.write_bytes(b"garbage")
    fresh = hashlib.sha256(b"garbage").hexdigest()
    manifest.write_text(manifest.read_text().replace(digest, fresh))
    with pytest.raises(ServiceError, match=f"{copied.name} cannot be opened") as caught:
        open_runtime(copied, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.LOAD_FAILED)


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x08\x07" + bytes(100)])
def test_garbage_named_onnx_is_a_failed_load(tmp_path, content):
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(ServiceError, match=r"model\.onnx cannot be opened") as caught:
        open_runtime(file, threads=1)
    assert caught.value.reason is Reason.LOAD_FAILED


class Bomb:
    """Runs code when unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "pytorch_model.bin", "model.pkl", "model.ckpt"])
def test_a_pickle_is_never_opened(tmp_path, name):
    mark = tmp_path / "ran"
    torch.save({"weights": Bomb(mark)}, tmp_path / name)
    with pytest.raises(ServiceError) as caught:
        open_runtime(tmp_path / name, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("name", "reason"), [("model.safetensors", Reason.UNSUPPORTED), ("absent.onnx", Reason.LOAD_FAILED)]
)
def test_other_files_are_refused_by_name(tmp_path, name, reason):
    with pytest.raises(ServiceError, match=name) as caught:
        open_runtime(tmp_path / name, threads=1)
    assert (caught.value.code, caught.value.reason) == (Code.FAILED_PRECONDITION, reason)
