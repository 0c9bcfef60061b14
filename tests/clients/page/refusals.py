"""What goes wrong is said where it was caused, in a sentence, with when to try again."""

from __future__ import annotations

import json

from playwright.sync_api import expect

from tests.clients.page.browser import Visit, visiting

ANSWERS = [
    (401, "UNAUTHENTICATED", "this platform asks for a key", {}, "A key is needed: type yours at the top."),
    (403, "PERMISSION_DENIED", "images are not yours", {}, "The key at the top does not allow this: images"),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "you have had it",
        {"retry-after": "17"},
        "you have had it. Try again in 17 s.",
    ),
    (503, "UNAVAILABLE", "the queue is full.", {"retry-after": "2"}, "the queue is full. Try again in 2 s."),
]
"""HTTP status, the status's name, what the platform says, headers; what the page says."""


def refusals(url: str) -> None:
    """Of the platform, of things between, of nobody; none of them leaves the page busy."""
    with visiting(url) as visit:
        _links_run_nothing(visit)
        _beside_the_field(visit)
        _unknown_model(visit)
        _in_a_sentence(visit)
        _loading(visit)
        _no_answer(visit)
        _broken_stream(visit)
        assert visit.complaints()  # the browser tells of each HTTP status


def _links_run_nothing(visit: Visit) -> None:
    """A model that is not there yet, which a link names, is asked for by a click and not before."""
    panel = visit.open("text?model=hf:nobody/none&prompt=a")
    expect(panel.get_by_label("Transformer", exact=True)).to_have_value("hf:nobody/none")
    expect(panel.get_by_label("Beside it")).to_have_value("moby-ngram")  # lists are here
    visit.page.wait_for_timeout(1000)
    assert not visit.asked("NextTokens")
    panel.get_by_label("Transformer", exact=True).select_option("storyteller")
    expect(visit.card("Transformer").locator(".bar-row").first).to_be_visible()
    assert {each["model"] for each in visit.asked("NextTokens")} == {"storyteller", "moby-ngram"}


def _beside_the_field(visit: Visit) -> None:
    visit.open("tokens")
    card = visit.card("Analogy")
    field = card.get_by_label("Take away")
    field.fill("qqqq")
    card.get_by_role("button", name="Work it out").click()
    said = field.locator("xpath=..").get_by_role("alert")
    expect(said).to_contain_text("qqqq")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert said.get_attribute("id") in field.get_attribute("aria-describedby").split()
    field.fill("woman")
    card.get_by_role("button", name="Work it out").click()
    expect(card.get_by_role("status")).to_have_text("Nearest: father.")
    expect(field).not_to_have_attribute("aria-invalid", "true")


def _unknown_model(visit: Visit) -> None:
    panel = visit.open("inside?model=storytelle")
    panel.get_by_role("button", name="Look inside").click()
    expect(panel.get_by_role("alert").filter(has_text="storyteller")).to_be_visible()  # the close name
    expect(panel.locator("form")).to_have_attribute("aria-busy", "false")


def _in_a_sentence(visit: Visit) -> None:
    panel = visit.open("inside")
    visit.page.reload()  # the unknown model is forgotten
    for status, name, said, headers, shown in ANSWERS:
        body = json.dumps({"error": {"code": 0, "status": name, "message": said, "details": []}})
        _answered(visit, status, body, {"content-type": "application/json", **headers})
        expect(panel.get_by_role("alert").filter(has_text=shown)).to_be_visible()
    _answered(visit, 502, "<html>a proxy</html>", {"content-type": "text/html"})
    expect(panel.get_by_role("alert").filter(has_text="HTTP 502")).to_be_visible()
    visit.page.unroute("**/Inspect")


def _answered(visit: Visit, status: int, body: str, headers: dict[str, str]) -> None:
    """Look inside, and get this answer."""
    visit.page.unroute("**/Inspect")
    visit.page.route("**/Inspect", lambda route: route.fulfill(status=status, body=body, headers=headers))
    visit.panel("inside").get_by_role("button", name="Look inside").click()


def _loading(visit: Visit) -> None:
    """A model that loads is waited for, and the wait can be ended."""
    panel = visit.panel("inside")
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "LOADING", "domain": "pequod"}
    error = {"code": 14, "status": "UNAVAILABLE", "message": "it is loading", "details": [detail]}
    headers = {"content-type": "application/json", "retry-after": "1"}
    body = json.dumps({"error": error})
    _answered(visit, 503, body, headers)
    expect(panel.get_by_role("status").first).to_have_text("The model is loading …")
    expect(panel.locator("form")).to_have_attribute("aria-busy", "true")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.get_by_role("status").first).to_have_text("Stopped.")
    _answered(visit, 503, body, headers)
    expect(panel.get_by_role("status").first).to_have_text("The model is loading …")
    visit.page.unroute("**/Inspect")  # now it is there
    expect(panel.get_by_role("status").first).to_contain_text("8 tokens")


def _no_answer(visit: Visit) -> None:
    panel = visit.panel("inside")
    visit.page.route("**/Inspect", lambda route: route.abort())
    panel.get_by_role("button", name="Look inside").click()
    expect(panel.get_by_role("alert").filter(has_text="The platform does not answer.")).to_be_visible()
    visit.page.unroute("**/Inspect")
    panel.get_by_role("button", name="Look inside").click()
    expect(panel.get_by_role("status").first).to_contain_text("8 tokens")


def _broken_stream(visit: Visit) -> None:
    """An error as the last line of a stream that had begun."""
    lines = [
        {"queued": {}},
        {"error": {"code": 13, "status": "INTERNAL", "message": "something broke", "details": []}},
    ]
    body = "\n".join(map(json.dumps, lines)) + "\n"
    visit.page.route(
        "**/Generate", lambda route: route.fulfill(body=body, content_type="application/x-ndjson")
    )
    panel = visit.open("image")
    panel.get_by_role("button", name="Paint").click()
    expect(panel.get_by_role("alert").filter(has_text="something broke")).to_be_visible()
    expect(panel.locator("form").first).to_have_attribute("aria-busy", "false")
    visit.page.unroute("**/Generate")
