"""Pictures of every tab for the README: ``python -m tests.clients.page.portraits URL FOLDER NAME…``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.clients.page import HANDHELD, PHONE, TABS
from tests.clients.page.browser import Visit, pull, run, visiting

WIDTH, PHONE_WIDTH, PHONE_HEIGHT = 1100, 380, 900
STEPS = 150
LONG = 600_000
"""Milliseconds of a job."""


def _text(visit: Visit) -> None:
    panel = visit.open("text?prompt=The+old+captain+looked+at+the+sea+and&seed=11")
    expect(visit.card("Transformer").locator(".bar-row").first).to_be_visible()
    panel.get_by_text("More", exact=True).click()  # the seed has opened it
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
    expect(visit.card("Edit").get_by_role("status")).to_have_text("expression: smiling, 2.")
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


_PARTS = {"text": ".written", "image": ".grid", "faces": ".slot.large"}
"""What a telephone shows of a tab, where it is not its beginning."""


_SECOND = {"faces": "Look for a face"}
"""Of a tab that is long: the part with which a second picture begins."""


def main(url: str, folder: str, *names: str) -> None:
    """A picture of the whole of each tab named; of PHONE what a telephone shows of some."""
    with visiting(url, WIDTH, 900, reduced_motion="reduce") as visit:
        for name in names:
            if name != PHONE:
                PREPARED[name](visit)
                _rest(visit)
                _take(visit, Path(folder), name)
    if PHONE in names:
        with visiting(url, PHONE_WIDTH, PHONE_HEIGHT, reduced_motion="reduce") as visit:
            for name in HANDHELD:
                PREPARED[name](visit)
                if part := _PARTS.get(name):
                    visit.panel(name).locator(part).first.evaluate(
                        "each => each.scrollIntoView({ block: 'center' })"
                    )
                _rest(visit)
                visit.page.screenshot(path=Path(folder) / f"{PHONE}-{name}.png")


def _rest(visit: Visit) -> None:
    """Bars come to rest, nothing is pointed at."""
    visit.page.mouse.move(0, 0)
    visit.page.wait_for_timeout(500)


def _take(visit: Visit, folder: Path, name: str) -> None:
    height = visit.page.evaluate("document.documentElement.scrollHeight")
    ends = [height]
    if name in _SECOND:
        top = visit.card(_SECOND[name]).evaluate("each => each.getBoundingClientRect().top + scrollY")
        ends.insert(0, top - 10)
    begin = 0.0
    for number, end in enumerate(ends, 1):
        path = folder / (f"{name}.png" if number == 1 else f"{name}-{number}.png")
        clip = {"x": 0, "y": begin, "width": WIDTH, "height": end - begin}
        visit.page.screenshot(path=path, full_page=True, clip=clip)
        begin = end


if __name__ == "__main__":
    main(*sys.argv[1:])
