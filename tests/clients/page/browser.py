"""Headless Chromium that watches what a page asks for and complains of."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

from playwright.sync_api import ConsoleMessage, Locator, Page, Request, expect, sync_playwright

WAIT = 30_000
"""Milliseconds until something must be seen; tests share their cores with training."""
_NO_ONE_ELSE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


class Visit:
    """One page in one window. ``requests``: everything that it asked for."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.requests: list[Request] = []
        self._complaints: list[str] = []
        page.set_default_timeout(WAIT)
        page.on("request", self._asks)
        page.on("pageerror", lambda error: self._complaints.append(str(error)))
        page.on("console", self._said)

    def _asks(self, request: Request) -> None:
        self.requests.append(request)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self._complaints.append(message.text)

    def open(self, link: str) -> Locator:
        """Go to a tab, ``text`` or ``text?prompt=…``; returns its panel."""
        self.page.goto(f"{self.base}/#{link}")
        panel = self.panel(link.partition("?")[0])
        expect(panel.get_by_role("heading", level=2)).to_be_visible()
        return panel

    def panel(self, tab: str) -> Locator:
        """What a tab shows."""
        return self.page.locator(f"#panel-{tab}")

    def card(self, title: str) -> Locator:
        """The part of a tab with that heading."""
        heading = self.page.get_by_role("heading", level=3, name=title, exact=True)
        return self.page.locator("section:visible").filter(has=heading)

    def asked(self, method: str) -> list[dict]:
        """The bodies of the calls of an RPC so far."""
        return [each.post_data_json for each in self.requests if each.url.endswith(f"/{method}")]

    def complaints(self) -> list[str]:
        """What the browser complained of since the last call."""
        found, self._complaints[:] = list(self._complaints), []
        return found

    def no_scroll_sideways(self) -> None:
        """Nothing is wider than the window."""
        width, room = self.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert width <= room, f"{self.page.url}: {width} pixels in a window of {room}"

    def check(self) -> None:
        """No request left the host, and the browser had nothing to complain of."""
        host = urlsplit(self.base).netloc
        outside = [
            each.url
            for each in self.requests
            if urlsplit(each.url).scheme not in {"data", "blob"} and urlsplit(each.url).netloc != host
        ]
        assert not outside, outside
        assert not self._complaints, self._complaints


@contextlib.contextmanager
def visiting(base: str, width: int = 1280, height: int = 900, **context: object) -> Iterator[Visit]:
    """A visit that is checked at its end. ``context``: of Playwright's browser context."""
    arguments = [_NO_ONE_ELSE, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    expect.set_options(timeout=WAIT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=arguments)
        try:
            window = browser.new_context(viewport={"width": width, "height": height}, **context)
            visit = Visit(window.new_page(), base)
            yield visit
            visit.check()
        finally:
            browser.close()


def run(card: Locator, label: str, timeout: float = WAIT) -> None:
    """Click a form's button and wait until it has ended, so many ms; fails where it reports an error."""
    form = card.locator("form").filter(has=card.page.get_by_role("button", name=label, exact=True))
    form.get_by_role("button", name=label, exact=True).click()
    expect(form).to_have_attribute("aria-busy", "false", timeout=timeout)
    wrong = [each for each in form.locator(".wrong").all_inner_texts() if each]
    assert not wrong, wrong


def pull(slider: Locator, value: float) -> None:
    """Move a slider as a hand does."""
    slider.evaluate(
        "(each, to) => { each.value = to; each.dispatchEvent(new Event('input', { bubbles: true })); }", value
    )


def seen(image: Locator) -> None:
    """A picture is there and can be decoded."""
    expect(image).to_be_visible(timeout=WAIT)
    image.evaluate("each => each.decode()")
    assert image.evaluate("each => each.naturalWidth") > 1
    assert image.get_attribute("alt")
