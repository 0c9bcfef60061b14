"""What a tenant sees of the models, what it may change, and that nobody sees another's."""

from __future__ import annotations

import asyncio

import pytest

from services.common import tenants
from services.common.errors import Code, Reason
from services.common.metrics import Metrics
from services.common.residency import ModelManager
from tests.unit.common.store_parts import disk_store, publish, refused, ship
from tests.unit.common.toys import ToyLoader


@pytest.fixture
async def store(tmp_path):
    """``shared`` is everybody's; ``hers`` is acme's, in two versions."""
    made = disk_store(tmp_path)
    ship(tmp_path, "shared")
    await publish(made, tmp_path, "hers", "1", tenant="acme")
    await publish(made, tmp_path, "hers", "2", seed=1, tenant="acme")
    return made


@pytest.fixture
async def manager(store):
    made = ModelManager(store, ToyLoader(), Metrics("toys"), budget_bytes=100, load_wait=30.0)
    yield made
    await made.close()


async def names(store, tenant):
    with tenants.acting_for(tenant):
        return [str(each) for each in await store.list_versions()]


async def test_a_tenant_lists_its_own_and_the_shared_models(store):
    assert await names(store, "acme") == ["hers:1", "hers:2", "shared:1"]
    assert await names(store, "other") == ["shared:1"]
    assert await names(store, tenants.LOCAL) == ["shared:1"]
    assert [str(each) for each in await store.list_versions()] == ["hers:1", "hers:2", "shared:1"]


@pytest.mark.parametrize("reference", ["hers", "hers:1", "hers:9", "hers@production"])
async def test_another_tenants_model_is_not_found_and_not_named(store, reference):
    with (
        tenants.acting_for("other"),
        refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND) as caught,
    ):
        await store.resolve(reference)
    told = caught.value.message.replace(reference, "")
    assert "hers" not in told + caught.value.metadata["close"]


async def test_its_owner_finds_it(store):
    with tenants.acting_for("acme"):
        assert str(await store.resolve("hers")) == "hers:2"


async def test_aliases_are_their_owners_to_move(store):
    with tenants.acting_for("acme"):
        await store.set_alias("hers", "production", "1")
        with refused(Code.PERMISSION_DENIED, Reason.NOT_OWNER, "shared by all"):
            await store.set_alias("shared", "production", "1")
    with tenants.acting_for("other"), refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        await store.set_alias("hers", "production", "2")
    with tenants.acting_for(tenants.LOCAL):
        await store.set_alias("shared", "production", "1")


@pytest.mark.parametrize("name", ["hers", "shared"])
async def test_a_name_is_one_tenants(store, tmp_path, name):
    with refused(Code.ALREADY_EXISTS, Reason.NAME_TAKEN, name):
        await publish(store, tmp_path, name, "7", seed=7, tenant="other")


async def test_two_tenants_that_publish_a_new_name_at_once_do_not_share_it(store, tmp_path):
    async def attempt(tenant, version):
        try:
            return await publish(store, tmp_path, "new", version, seed=int(version), tenant=tenant)
        except Exception as error:
            return error

    await attempt("one", "1")
    assert (await attempt("two", "2")).reason is Reason.NAME_TAKEN


async def test_what_one_tenant_has_loaded_serves_no_other(manager):
    with tenants.acting_for("acme"):
        async with manager.use("hers") as resident:
            assert resident.model.answer() == "hers:2"
    with tenants.acting_for("other"), refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        async with manager.use("hers"):
            pytest.fail("it was served")
    with tenants.acting_for("other"), refused(Code.NOT_FOUND, Reason.MODEL_NOT_FOUND):
        await manager.unload("hers")


async def test_who_may_not_see_a_model_takes_it_from_nobody_who_asks_at_once(manager):
    async def use(tenant):
        with tenants.acting_for(tenant):
            async with manager.use("hers") as resident:
                return resident.model.answer()

    results = await asyncio.gather(*[use(each) for each in ("other", "acme") * 5], return_exceptions=True)
    assert results[1::2] == ["hers:2"] * 5
    assert {each.reason for each in results[::2]} == {Reason.MODEL_NOT_FOUND}


async def test_a_moved_alias_is_followed_whoever_is_served(manager, store):
    with tenants.acting_for("acme"):
        await manager.set_alias("hers", "production", "1", None)
        async with manager.use("hers") as resident:
            assert resident.model.answer() == "hers:1"
        await manager.set_alias("hers", "production", "2", None)
        async with manager.use("hers") as resident:
            assert resident.model.answer() == "hers:2"


def test_who_calls_says_whose_call_it_is():
    assert tenants.tenant_of(tenants.caller("acme", "token:a/b")) == "acme"
    assert tenants.tenant_of("") == tenants.LOCAL
