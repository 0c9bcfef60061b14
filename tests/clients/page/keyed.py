"""With keys that are really asked for: none, one for everything, one for texts, one that is used up."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import Visit, visiting


def keyed(url: str, full: str, texts: str, few: str) -> None:
    """``full`` opens everything, ``texts`` texts alone, ``few`` one request a minute."""
    with visiting(url) as visit:
        panel = visit.open("inside")
        _look(panel)
        expect(_wrong(panel, "A key is needed: type yours at the top.")).to_be_visible()
        _use(visit, "pq_no-such-key")
        _look(panel)
        expect(_wrong(panel, "The key at the top is not accepted")).to_be_visible()

        _use(visit, full)
        expect(panel.get_by_label("Transformer")).to_have_value("storyteller")  # the lists come with the key
        _look(panel)
        expect(panel.get_by_role("status").first).to_contain_text("8 tokens")

        _use(visit, texts)
        _look(panel)
        expect(panel.get_by_role("status").first).to_contain_text("8 tokens")
        image = visit.open("image")
        image.get_by_role("button", name="Paint").click()
        expect(_wrong(image, "The key at the top does not allow this")).to_be_visible()

        _use(visit, few)
        panel = visit.open("inside")
        for _ in range(3):
            _look(panel)
            expect(panel.locator("form")).to_have_attribute("aria-busy", "false")
        expect(_wrong(panel, "Try again in ")).to_be_visible()
        assert visit.complaints()  # the browser tells of each HTTP status
        assert not any(full in each.url for each in visit.requests)


def _look(panel: Locator) -> None:
    panel.get_by_role("button", name="Look inside").click()


def _use(visit: Visit, key: str) -> None:
    field = visit.page.get_by_label("Key")
    field.fill(key)
    field.blur()


def _wrong(panel: Locator, words: str) -> Locator:
    return panel.get_by_role("alert").filter(has_text=words).last
