"""The key file and the ring: what opens, what does not, and what survives a bad file."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from key_parts import Keys

from gateway.keys.key import id_in, new_key
from gateway.keys.keyfile import KeyFileError, editing, make_secret, read_keys
from gateway.keys.ring import KeyRing
from gateway.principal import Group
from services.common.errors import Code, Reason, ServiceError

NOW = datetime.now(UTC)


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


def ring_of(keys, now=None):
    clock = {} if now is None else {"now": lambda: now}
    return KeyRing(keys.settings.file, keys.settings.secret_file, **clock)


def refusal(ring, text):
    with pytest.raises(ServiceError) as caught:
        ring.find(text)
    assert caught.value.code is Code.UNAUTHENTICATED
    return caught.value


def test_a_key_has_256_random_bits_and_is_in_no_file(keys, tmp_path):
    text = keys.add()
    secret = text.split("_", 2)[2]
    assert len(secret) == 43  # 32 bytes in base64url
    for file in tmp_path.iterdir():
        assert secret not in file.read_text()
    assert len({new_key().text for _ in range(100)}) == 100


def test_files_are_for_their_owner_only(keys):
    keys.add()
    for file in (keys.settings.file, keys.settings.secret_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_key_opens_for_its_tenant_and_groups(keys):
    text = keys.add("reader", tenant="acme", groups=(Group.TEXT,), models=("story*",))
    who = ring_of(keys).find(text)
    assert (who.tenant, who.name, who.key_id) == ("acme", "reader", id_in(text))
    assert who.groups == {Group.TEXT}
    assert who.may_use("storyteller")
    assert not who.may_use("gpt2")


def test_without_a_key_file_no_key_is_wanted(keys):
    assert not ring_of(keys).wanted


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.replace("pq_", "px_"),
        lambda text: text + "A",
        lambda text: "pq_000000000000_" + text.split("_", 2)[2],
        lambda text: "",
        lambda text: "é" * 60,
    ],
)
def test_what_is_no_key_tells_nothing(keys, spoil):
    text = keys.add()
    error = refusal(ring_of(keys), spoil(text))
    assert error.reason is Reason.KEY_INVALID
    assert error.message == "the key is not known here"


def test_another_secret_opens_nothing(keys, tmp_path):
    text = keys.add()
    other = tmp_path / "other"
    make_secret(other)
    assert refusal(KeyRing(keys.settings.file, other), text).reason is Reason.KEY_INVALID


def test_an_expired_key_says_when(keys):
    text = keys.add(expires=NOW + timedelta(hours=1))
    ring_of(keys, NOW).find(text)
    error = refusal(ring_of(keys, NOW + timedelta(hours=1)), text)
    assert error.reason is Reason.KEY_EXPIRED
    assert "expired at" in error.message


def test_a_change_of_the_file_is_seen_and_a_revoked_key_opens_nothing(keys):
    text = keys.add()
    ring = ring_of(keys)
    assert not ring.look()
    keys.change(text, revoked=NOW)
    assert ring.look()
    assert "was revoked" in refusal(ring, text).message


def test_a_mounted_secret_that_is_swapped_is_seen(keys, tmp_path):
    text = keys.add()
    for name in ("old", "new"):
        (tmp_path / name).write_bytes(keys.settings.file.read_bytes())
    (tmp_path / "new").write_text('{"keys": []}')
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "old")
    ring = KeyRing(link, keys.settings.secret_file)
    ring.find(text)
    os.symlink(tmp_path / "new", tmp_path / "beside")
    os.replace(tmp_path / "beside", link)
    assert ring.look()
    refusal(ring, text)


@pytest.mark.parametrize("content", ["", "{", '{"keys": [{"id": "x"}]}', '{"keyz": []}', "[]"])
def test_a_bad_file_leaves_the_keys_of_before(keys, content, caplog):
    text = keys.add()
    ring = ring_of(keys)
    keys.settings.file.write_text(content)
    assert not ring.look()
    assert ring.find(text).name == "someone"
    assert "keys not read again" in caplog.text
    with pytest.raises(KeyFileError, match=r"keys\.json"):
        ring_of(keys)  # a start with it fails


def test_a_file_that_is_gone_opens_to_nobody_else(keys):
    text = keys.add()
    ring = ring_of(keys)
    keys.settings.file.unlink()
    assert not ring.look()
    assert ring.wanted
    ring.find(text)


def test_at_most_two_keys_of_a_name_live(keys):
    first = keys.add("rotated")
    keys.add("rotated")
    with pytest.raises(KeyFileError, match="at most 2"):
        keys.add("rotated")
    keys.change(first, expires=NOW - timedelta(seconds=1))
    keys.add("rotated")
    assert len(read_keys(keys.settings.file)) == 3


def test_an_unknown_field_in_the_file_is_named(keys):
    keys.add()
    file = json.loads(keys.settings.file.read_text())
    file["keys"][0]["limits"] = {"request_per_minute": 5}
    keys.settings.file.write_text(json.dumps(file))
    with pytest.raises(KeyFileError, match=r"keys\.0\.limits\.request_per_minute"):
        read_keys(keys.settings.file)


@pytest.mark.parametrize(
    ("limit", "groups"),
    [
        ("tokens_per_minute", (Group.IMAGES, Group.FINETUNE)),
        ("megapixel_steps_per_minute", (Group.TEXT,)),
        ("training_minutes_per_day", (Group.FACES, Group.OPERATE)),
    ],
)
def test_a_limit_that_binds_nothing_is_refused(keys, limit, groups):
    with pytest.raises(ValueError, match=f"limits.{limit} binds nothing"):
        keys.add(limits={limit: 5}, groups=groups)
    text = keys.add(limits={limit: 5})
    assert getattr(ring_of(keys).find(text).limits, limit) == 5


def test_a_short_secret_is_refused(keys, tmp_path):
    keys.add()
    (tmp_path / "short").write_text("12345")
    with pytest.raises(KeyFileError, match="at least 32"):
        KeyRing(keys.settings.file, tmp_path / "short")


def test_two_who_edit_at_once_lose_nothing(keys):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: keys.add(f"key-{number}"), range(24)))
    assert len(read_keys(keys.settings.file)) == 24


def test_an_edit_that_fails_writes_nothing(keys):
    keys.add()
    before = keys.settings.file.read_bytes()
    edit = editing(keys.settings.file)
    edit.__enter__().clear()
    assert not edit.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert keys.settings.file.read_bytes() == before
