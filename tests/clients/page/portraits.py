"""Pictures of every tab for the README: ``python -m tests.clients.page.portraits URL FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.clients.page import HANDHELD, TABS
from tests.clients.page.browser import Visit, pull, run, visiting

WIDTH, PHONE = 1100, 380
PHONE_HEIGHT = 900
STEPS = 150
LONG = 600_000
"""Milliseconds of a job."""


def _text(visit: Visit) -> None:
    panel = visit.open("text?prompt=The+old+captain+looked+at+the+sea+and&seed=11")
    expect(visit.card("Transformer").locator(".bar-row").first).to_be_visible()
    run(panel, "Write")
    visit.page.wait_for_timeout(1000)  # the tables follow the last token


def _tokens(visit: Visit) -> None:
    visit.open("tokens")
    visit.card("What a model reads").get_by_role("button", name="A sentence").click()
    for title, label in (
        ("Analogy", "Work it out"),
        ("Neighbours", "Look around"),
        ("Pairs", "Compare"),
        ("A map of words", "Draw"),
        ("Alike in meaning", "Compare"),
    ):
        run(visit.card(title), label)


def _inside(visit: Visit) -> None:
    panel = visit.open("inside?prompt=The+captain+of+the+ship+looked+at+the")
    run(panel, "Look inside")
    card = visit.card("2 · Transformation")
    pull(card.get_by_label("Layer", exact=True), 4)
    pull(card.get_by_label("Head"), 2)


def _image(visit: Visit) -> None:
    panel = visit.open("image?seed=4")
    run(panel, "Paint")
    panel.get_by_role("button", name="Ladder").first.click()
    expect(visit.card("Noise ladder").locator(".ladder > li")).to_have_count(8)


def _faces(visit: Visit) -> None:
    visit.open("faces")
    for title, label in (
        ("A walk through faces", "Walk"),
        ("Mix", "Mix"),
        ("Look for a face", "Look for it"),
        ("No copy", "Search"),
        ("Side by side", "Race"),
    ):
        run(visit.card(title), label)
    pull(visit.card("A walk through faces").get_by_label("Frame of the walk"), 12)


def _finetune(visit: Visit) -> None:
    visit.open("finetune")
    run(visit.card("1 · Data"), "Upload")
    job = visit.card("2 · Job")
    job.get_by_label("Steps", exact=True).fill(str(STEPS))
    run(job, "Start the job")
    said = visit.card("3 · How it goes").get_by_role("status")
    expect(said).to_have_text("The job succeeded.", timeout=LONG)


def _status(visit: Visit) -> None:
    panel = visit.open("status")
    expect(panel.locator(".light.on").nth(10)).to_be_visible()


PREPARED: dict[str, Callable[[Visit], None]] = dict(
    zip(TABS, (_text, _tokens, _inside, _image, _faces, _finetune, _status), strict=True)
)


def main() -> None:
    """One picture of the whole of each tab; of some also as a telephone shows them."""
    url, folder = sys.argv[1], Path(sys.argv[2])
    with visiting(url, WIDTH, 900, reduced_motion="reduce") as visit:
        for name, prepare in PREPARED.items():
            prepare(visit)
            visit.page.mouse.move(0, 0)
            visit.page.screenshot(path=folder / f"{name}.png", full_page=True)
    with visiting(url, PHONE, PHONE_HEIGHT, reduced_motion="reduce") as visit:
        for name in HANDHELD:
            PREPARED[name](visit)
            visit.page.evaluate("scrollTo(0, 0)")
            visit.page.screenshot(path=folder / f"phone-{name}.png")


if __name__ == "__main__":
    main()
