"""Manifests: digests, what they refuse, and paths that would leave a model's folder."""

import json
import os
import pickle
import zipfile
from datetime import UTC, datetime

import pytest
import torch
from pydantic import ValidationError

from services.common.errors import Code, Reason, ServiceError
from services.common.store import FileEntry, Kind, Manifest, describe_files
from services.common.store.manifest import read_manifest
from services.common.store.reference import check_path
from services.common.store.safety import check_format, verify
from tests.unit.common.store_parts import manifest_of, refused, write_files

FIXED = {
    "name": "m",
    "version": "1",
    "kind": Kind.NGRAM,
    "family": "f",
    "created": datetime(2024, 1, 2, tzinfo=UTC),
}


def test_the_digest_is_a_promise():
    manifest = Manifest(**FIXED, config={"b": [1, 2.5], "a": None}, metrics={"bits": 2.0})
    assert manifest.digest == "8d58f217472f425c0316b2c77f10951babf971faab39aa4f294ad8ea01042a60"
    assert (
        Manifest(**FIXED, metrics={"bits": 2.0}, config={"a": None, "b": [1, 2.5]}).digest == manifest.digest
    )
    assert read_manifest(manifest.to_json(), "here").digest == manifest.digest


@pytest.mark.parametrize(
    "field", [f for f in Manifest.model_fields if f not in {"files", "inputs", "outputs"}]
)
def test_the_digest_covers_every_field(field):
    other = {
        "kind": Kind.GAN,
        "config": {"a": 1},
        "metrics": {"a": 1.0},
        "created": datetime(2025, 1, 1, tzinfo=UTC),
    }.get(field, "other")
    assert Manifest(**{**FIXED, field: other}).digest != Manifest(**FIXED).digest


def test_a_number_beyond_all_numbers_is_no_json():
    text = '{"name": "m", "version": "1", "kind": "ngram", "family": "f", "config": {"a": [%s]}}'
    assert read_manifest(text % "1e300", "here").config == {"a": [1e300]}
    with pytest.raises(ServiceError, match="a number that JSON has not"):
        read_manifest(text % "1e999", "here")


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"kind": "weather"},
        {"name": None},
        {"metrics": {"a": float("nan")}},
        {"config": {"a": float("inf")}},
        {"config": {"a": object()}},
        {"files": [{"path": "a", "size_bytes": -1, "sha256": "0" * 64}]},
        {"files": [{"path": "a", "size_bytes": 1, "sha256": "X" * 64}]},
        {"files": [{"path": "a", "size_bytes": 1, "sha256": "0" * 64}] * 2},
        {"files": [{"path": "model.json", "size_bytes": 1, "sha256": "0" * 64}]},
        {"files": [{"path": "a", "size_bytes": 1, "sha256": "0" * 64, "mode": 1}]},
    ],
)
def test_what_is_no_manifest_is_refused(change):
    with pytest.raises(ValidationError):
        Manifest.model_validate({**FIXED, **change})


@pytest.mark.parametrize("text", ["", "[]", "{", '{"name": "m"}', '{"name": "m", "x": 1}', b"\x80\x04\xff"])
def test_a_damaged_manifest_is_data_loss_and_named(text):
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "m/1/model.json"):
        read_manifest(text, "m/1/model.json")


BAD_PATHS = ["/etc/passwd", "../x", "a/../../x", "a\\..\\x", "a\0b", "", ".", "./a", "a//b", "a/", ".."]


@pytest.mark.parametrize("path", BAD_PATHS)
def test_paths_stay_inside_the_folder(path):
    with refused(Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH):
        check_path(path)
    text = json.dumps(
        {
            **FIXED,
            "created": "2024-01-01T00:00:00Z",
            "files": [{"path": path, "size_bytes": 1, "sha256": "0" * 64}],
        }
    )
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "here"):
        read_manifest(text, "here")


def test_links_that_leave_the_folder_are_refused(tmp_path):
    outside = tmp_path / "secret.json"
    outside.write_text("{}")
    folder = write_files(tmp_path / "m")
    (folder / "link.json").symlink_to(outside)
    manifest = manifest_of(folder)
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "link.json", "leaves"):
        verify(folder, manifest, set())
    verify(folder, manifest, set(), within=tmp_path)


def test_tampering_is_found_and_the_file_named(tmp_path):
    folder = write_files(tmp_path / "m")
    manifest, verified = manifest_of(folder), set()
    verify(folder, manifest, verified)
    file = folder / "tokenizer.json"
    content, status = file.read_bytes(), file.stat()
    file.write_bytes(content.replace(b"0", b"1"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "tokenizer.json", "sha256") as caught:
        verify(folder, manifest, verified)
    assert caught.value.resource == ("file", "tokenizer.json")
    file.write_bytes(content[:-1])
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "tokenizer.json", f"{len(content) - 1} bytes"):
        verify(folder, manifest, verified)
    file.unlink()
    with refused(Code.DATA_LOSS, Reason.FILE_TAMPERED, "tokenizer.json", "missing"):
        verify(folder, manifest, verified)
    file.write_bytes(content)
    verify(folder, manifest, verified)


def test_an_unchanged_file_is_not_read_again(tmp_path, monkeypatch):
    folder = write_files(tmp_path / "m")
    manifest, verified, read = manifest_of(folder), set(), []
    from services.common.store import safety

    check = safety._check_content
    monkeypatch.setattr(
        safety, "_check_content", lambda file, *rest: (read.append(file.name), check(file, *rest))
    )
    verify(folder, manifest, verified)
    verify(folder, manifest, verified)
    assert sorted(read) == ["tokenizer.json", "weights.safetensors"]
    (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text())
    verify(folder, manifest, verified)
    assert len(read) == 3


class Bomb:
    def __reduce__(self):
        return print, ("boom",)


def pickled(file):
    file.write_bytes(pickle.dumps(Bomb()))


def old_pickle(file):
    file.write_bytes(pickle.dumps({"a": 1}, protocol=2))


def torch_saved(file):
    torch.save({"w": torch.zeros(3)}, file)


def torch_saved_old(file):
    torch.save({"w": torch.zeros(3)}, file, _use_new_zipfile_serialization=False)


def zipped(file):
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(1))


@pytest.mark.parametrize("write", [pickled, old_pickle, torch_saved, torch_saved_old, zipped])
@pytest.mark.parametrize("suffix", [".safetensors", ".onnx", ".json", ".txt", ".model"])
def test_pickles_under_another_name_are_refused(tmp_path, write, suffix):
    write(tmp_path / f"weights{suffix}")
    manifest = manifest_of(tmp_path)
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, f"weights{suffix}"):
        verify(tmp_path, manifest, set())


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".pkl", ".PT", ".npz", ".py", ".so", ""])
def test_formats_that_are_not_known_to_be_safe_are_refused(tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(b"harmless")
    with refused(Code.FAILED_PRECONDITION, Reason.UNSAFE_FORMAT, file.name):
        check_format(file)


def test_a_safetensors_file_whose_header_begins_like_a_pickle_is_read(tmp_path):
    file = tmp_path / "a.safetensors"
    header = b"{}".ljust(0x80)
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    check_format(file)


def test_describing_takes_every_file_but_the_manifest(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "model.json").write_text("{}")
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    assert describe_files(tmp_path) == (FileEntry(path="sub/a.txt", size_bytes=1, sha256=digest),)
    with pytest.raises(ServiceError):
        describe_files(tmp_path, ["../x"])
