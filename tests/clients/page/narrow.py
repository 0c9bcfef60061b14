"""A telephone's width: nothing is cut off, in light and in dark."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import expect

from tests.clients.page.browser import Visit, run, visiting

WIDTH = 380
QUICK = {
    "text": ["Write"],
    "tokens": ["Work it out", "Look around", "Draw"],
    "inside": ["Look inside"],
    "image": ["Paint"],
    "faces": ["Mix", "Search", "Race"],
    "finetune": [],
    "status": [],
}
"""Tabs, and what is run in each before it is measured."""
LEAST_CONTRAST = 4.5
_CONTRAST = Path(__file__).with_name("contrast.js")


def narrow(url: str) -> None:
    """Every tab, empty and full."""
    for scheme in ("light", "dark"):
        with visiting(url, WIDTH, 800, color_scheme=scheme, has_touch=True) as visit:
            for tab, labels in QUICK.items():
                panel = visit.open(tab)
                visit.no_scroll_sideways()
                for label in labels if scheme == "light" else labels[:1]:
                    run(panel, label)
                visit.no_scroll_sideways()
                _within(visit)
                _contrast(visit)
            expect(visit.page.get_by_role("tab")).to_have_count(len(QUICK))


def _within(visit: Visit) -> None:
    """No control reaches out of the window, but in rooms that scroll by themselves."""
    outside = visit.page.evaluate(
        """() => [...document.querySelectorAll('button, input, select, textarea, h2, h3, p')]
            .filter(each => each.checkVisibility() && !each.closest('.scroll, .ladder, .figure, .easel'))
            .filter(each => each.getBoundingClientRect().right > innerWidth + 1)
            .map(each => each.outerHTML.slice(0, 120))"""
    )
    assert not outside, outside


def _contrast(visit: Visit) -> None:
    """Texts stand out from what is behind them, as WCAG counts it (AA)."""
    faint = visit.page.evaluate(_CONTRAST.read_text(), LEAST_CONTRAST)
    assert not faint, faint[:5]
