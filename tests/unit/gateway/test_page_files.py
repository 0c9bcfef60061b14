"""The page's files: what is served, with which headers, and that nothing else of the disk is."""

import re
from pathlib import Path

import pytest

from gateway.routes import page
from tests.unit.gateway.fakes import gateway

FOLDER = Path(page.__file__).parents[1] / "page"
SERVED = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob("*")
    if path.suffix in {".html", ".css", ".js", ".svg"}
)


@pytest.fixture
async def door():
    async with gateway(sampler=[]) as started:
        yield started


def directives(reply):
    return dict(each.split(" ", 1) for each in reply.headers["content-security-policy"].split("; "))


async def test_the_start(door):
    reply = await door.http.get("/")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<title>Pequod</title>" in reply.text


async def test_every_file_comes_with_its_type_and_its_headers(door):
    types = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
    for name in SERVED:
        reply = await door.http.get(f"/page/{name}")
        assert (name, reply.status_code) == (name, 200)
        assert reply.content == (FOLDER / name).read_bytes()
        assert reply.headers["content-type"].partition(";")[0] == types[name.rpartition(".")[2]]
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["referrer-policy"] == "no-referrer"
        allowed = directives(reply)
        assert allowed["default-src"] == "'none'"
        assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == "'self'"
        assert set(allowed["img-src"].split()) == {"'self'", "blob:", "data:"}
        assert allowed["frame-ancestors"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
        assert "unsafe" not in reply.headers["content-security-policy"]


async def test_a_browser_that_has_it_gets_no_second_copy(door):
    first = await door.http.get("/page/app/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = await door.http.get("/page/app/main.js", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert "content-security-policy" in again.headers
    other = await door.http.get("/page/app/main.js", headers={"if-none-match": '"other"'})
    assert (other.status_code, other.content) == (200, first.content)


async def test_head_and_other_verbs(door):
    head = await door.http.head("/")
    assert (head.status_code, head.content) == (200, b"")
    assert (await door.http.post("/", json={})).status_code == 405


async def test_nothing_else_is_served(door):
    for path in (
        "/page/",
        "/page/nothing.js",
        "/page/screenshots/text.png",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/..%2fapp.py",
        "/page/app/%2e%2e/%2e%2e/%2e%2e/pyproject.toml",
        "/page//etc/passwd",
        "/page/index.html%00.js",
    ):
        reply = await door.http.get(path)
        assert (path, reply.status_code) == (path, 404)
        assert reply.json()["error"]["details"][0]["reason"] == "METHOD_NOT_FOUND"


@pytest.mark.parametrize("name", SERVED)
def test_no_file_names_another_host_nor_has_styles_and_scripts_inline(name):
    text = (FOLDER / name).read_text()
    hosts = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"')]*", text))
    assert hosts <= {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert not re.search(
        r"\bstyle=|<style|\bon[a-z]+=\"|innerHTML|insertAdjacentHTML|document\.write|\beval\(", text
    )
    for script in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL):
        assert not script


async def test_whoever_has_no_key_sees_the_page_but_no_key_is_in_it(door):
    reply = await door.http.get("/")
    assert "set-cookie" not in reply.headers
    assert "authorization" not in reply.text.lower()
