"""References: every form, and everything that is none."""

import pytest

from services.common.errors import Code, Reason, ServiceError
from services.common.store import Reference, parse_reference
from services.common.store.reference import check_name, check_version, version_order
from tests.unit.common.store_parts import refused


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("moby-ngram", {"name": "moby-ngram"}),
        ("a", {"name": "a"}),
        ("9.b_c-d", {"name": "9.b_c-d"}),
        ("m@production", {"name": "m", "alias": "production"}),
        ("m:1.9-rc_1", {"name": "m", "version": "1.9-rc_1"}),
        ("hf:gpt2", {"repo": "gpt2"}),
        ("hf:org/Repo.x@refs/pr/1", {"repo": "org/Repo.x", "revision": "refs/pr/1"}),
        ("file:/a/b c", {"path": "/a/b c"}),
        ("file:rel/a..b", {"path": "rel/a..b"}),
    ],
)
def test_every_form_is_understood(text, parts):
    assert parse_reference(text) == Reference(**parts)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "-a",
        ".a",
        "a b",
        "a\n",
        "ä",
        "a" * 129,
        "m@",
        "m@A",
        "m@1",
        "m@x:1",
        "m:",
        "m:" + "1" * 65,
        "m:1@x",
        "hf:",
        "hf:a/b/c",
        "hf:/a",
        "hf:a@",
        "hf:a@-x",
        "file:",
        "m:a b",
        "\0",
    ],
)
def test_malformed_references_name_the_field(text):
    with pytest.raises(ServiceError) as caught:
        parse_reference(text)
    assert caught.value.code is Code.INVALID_ARGUMENT
    assert caught.value.violations[0].field == "model"


@pytest.mark.parametrize(
    "text",
    [
        "..",
        "../a",
        "a/../b",
        "a..b",
        "/etc",
        "m:..",
        "m:../x",
        "m:a/b",
        "hf:..",
        "hf:a/..",
        "hf:a@../x",
        "file:../a",
        "file:/a/../b",
        "file:/a\0b",
    ],
)
def test_what_would_leave_the_store_is_refused(text):
    with refused(Code.INVALID_ARGUMENT, Reason.UNSAFE_PATH):
        parse_reference(text)


@pytest.mark.parametrize("bad", ["", "..", "A"])
def test_checks_name_the_field_they_are_told(bad):
    for check in (check_name, check_version):
        if check is check_version and bad == "A":
            continue
        with pytest.raises(ServiceError) as caught:
            check(bad, "somewhere")
        assert caught.value.violations[0].field == "somewhere"


def test_versions_sort_as_people_count():
    ordered = ["1", "1.2", "1.10", "2", "9", "10", "10.1"]
    assert sorted(["10.1", "9", "1.2", "10", "1", "2", "1.10"], key=version_order) == ordered
    assert sorted(["10", "x", "1x", "1"], key=version_order)[-1] == "10"
