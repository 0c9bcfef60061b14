"""By keyboard alone; the key; links; the browser's own buttons."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.page.browser import Visit, visiting

TABS = [
    "Text",
    "Tokens and meaning",
    "Inside the transformer",
    "Image",
    "Faces",
    "Fine-tune",
    "Status",
]
KEY = "pqd_page-key-of-a-visitor"


def manners(url: str) -> None:
    """No mouse; no trace of the key but in the session and in calls."""
    with visiting(url) as visit:
        _keyboard(visit)
        _labels(visit)
        _back(visit)
    with visiting(url) as visit:
        _key(visit)


def _keyboard(visit: Visit) -> None:
    visit.open("text")
    press = visit.page.keyboard.press
    press("Tab")  # the key
    press("Tab")  # the tabs: one stop for all of them
    focused = visit.page.locator(":focus")
    expect(focused).to_have_role("tab")
    for title in [*TABS[1:], TABS[0]]:  # round and back to the first
        press("ArrowRight")
        expect(focused).to_have_text(title)
        expect(focused).to_have_attribute("aria-selected", "true")
        expect(visit.page.get_by_role("tabpanel")).to_have_count(1)
        expect(visit.page.get_by_role("tabpanel").get_by_role("heading", level=2)).to_have_text(title)
        assert float(focused.evaluate("each => parseFloat(getComputedStyle(each).outlineWidth)")) >= 2
    press("End")
    expect(focused).to_have_text(TABS[-1])
    press("Home")
    expect(focused).to_have_text(TABS[0])
    for _ in range(5):
        press("Tab")  # past the examples
    expect(focused).to_have_role("textbox")
    visit.page.keyboard.insert_text(" the white whale")
    for _ in range(20):
        if focused.inner_text() == "Write":
            break
        press("Tab")
    press("Enter")
    written = visit.card("Transformer").locator(".piece")
    expect(written.nth(20)).to_be_visible()


def _labels(visit: Visit) -> None:
    """Every control and every picture has a name for those who do not see it."""
    for title in TABS:
        visit.page.get_by_role("tab", name=title).click()
        nameless = visit.page.get_by_role("tabpanel").evaluate(
            """each => [...each.querySelectorAll('input, select, textarea')]
                .filter(control => !control.labels?.length && !control.ariaLabel)
                .map(control => control.outerHTML)"""
        )
        assert not nameless, nameless
        bare = visit.page.locator("svg:visible:not([role]), canvas:visible:not([role]), img:not([alt])")
        assert bare.count() == 0, bare.first.evaluate("each => each.outerHTML.slice(0, 200)")


def _back(visit: Visit) -> None:
    visit.page.go_back()
    expect(visit.page.get_by_role("tab", selected=True)).to_have_text(TABS[-2])
    visit.page.go_forward()
    expect(visit.page.get_by_role("tab", selected=True)).to_have_text(TABS[-1])
    visit.page.goto(f"{visit.base}/#nothing-so-called?x=1")  # what leads nowhere leads to the first
    expect(visit.page.get_by_role("tab", selected=True)).to_have_text(TABS[0])


def _key(visit: Visit) -> None:
    visit.page.goto(visit.base)
    expect(visit.panel("text").locator(".bar-row").first).to_be_visible()
    assert not any("authorization" in each.headers for each in visit.requests)
    typed = visit.page.get_by_label("Key")
    assert typed.get_attribute("type") == "password"
    typed.fill(KEY)
    with visit.page.expect_request(lambda each: each.url.endswith("/ListModels")) as asked:
        typed.blur()
    assert asked.value.headers["authorization"] == f"Bearer {KEY}"
    visit.open("inside")
    visit.panel("inside").get_by_role("button", name="Look inside").click()
    expect(visit.card("3 · Unembedding").locator(".bar-row").first).to_be_visible()
    assert visit.requests[-1].headers["authorization"] == f"Bearer {KEY}"
    assert not any(KEY in each.url for each in visit.requests)
    assert KEY not in visit.page.url
    kept = visit.page.evaluate(
        "[JSON.stringify(sessionStorage), JSON.stringify(localStorage), document.cookie]"
    )
    assert KEY in kept[0]
    assert kept[1:] == ["{}", ""]
    assert visit.page.context.cookies() == []
    visit.page.reload()
    expect(visit.page.get_by_label("Key")).to_have_value(KEY)
    visit.page.get_by_label("Key").fill("")
    visit.page.get_by_label("Key").blur()
    assert visit.page.evaluate("sessionStorage.length") == 0
