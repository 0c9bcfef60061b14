"""Images: painting with previews, seeds, stopping, going on from a result, marks, the ladder."""

from __future__ import annotations

import base64
import struct

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import WAIT, Visit, run, seen, visiting

SEED = 4


def images(url: str) -> None:
    """From a prompt to a picture, and from that one to others."""
    with visiting(url) as visit:
        panel = visit.open(f"image?prompt=a+smiling+person+with+red+hair&n=2&seed={SEED}")
        first = _paints(visit, panel)
        _paints_the_same_again(panel, first)
        _climbs(visit, panel)
        _goes_on_with_marks(visit, panel)
        _stops(visit, panel)


def _paints(visit: Visit, panel: Locator) -> list[str]:
    panel.evaluate(
        """each => {
            window.previews = 0;
            new MutationObserver(all => all.forEach(({ target }) => {
                if (target.src?.startsWith('data:image/webp')) window.previews += 1;
            })).observe(each, { attributes: true, attributeFilter: ['src'], subtree: true });
        }"""
    )
    run(panel, "Paint")
    assert visit.page.evaluate("previews") >= 2 * 8  # of each picture, while it was painted
    pictures = panel.locator(".grid .slot img")
    expect(pictures).to_have_count(2)
    for each in pictures.all():
        seen(each)
    captions = panel.locator(".grid figcaption").all_inner_texts()
    assert [each.split()[1] for each in captions] == [str(SEED), str(SEED + 1)]
    assert panel.locator(".grid a[download]").first.get_attribute("download") == f"image-{SEED}.png"
    expect(panel.locator(".note").filter(has_text="peeps-diffusion:")).to_contain_text("denoising")
    return pictures.evaluate_all("all => all.map(each => each.src)")


def _paints_the_same_again(panel: Locator, first: list[str]) -> None:
    run(panel, "Paint")
    assert panel.locator(".grid .slot img").evaluate_all("all => all.map(each => each.src)") == first
    panel.get_by_text("Steps, guidance").click()
    panel.get_by_label("Scheduler").select_option("EULER")
    panel.get_by_label("Steps").fill("5")
    run(panel, "Paint")
    assert panel.locator(".grid .slot img").evaluate_all("all => all.map(each => each.src)") != first


def _climbs(visit: Visit, panel: Locator) -> None:
    panel.get_by_role("button", name="Ladder").first.click()
    rungs = visit.card("Noise ladder").locator(".ladder > li")
    expect(rungs).to_have_count(8, timeout=WAIT)
    assert rungs.locator("figcaption").first.inner_text() == "0 % noise"
    expect(visit.card("Noise ladder").get_by_role("status")).to_have_text("8 of 1001 levels.")
    assert rungs.locator("img").count() == 8 + 7  # at level 0 there is nothing behind the noise


def _goes_on_with_marks(visit: Visit, panel: Locator) -> None:
    panel.get_by_role("button", name="Go on").first.click()
    mask = panel.get_by_role("application")
    mask.focus()
    for key in ("ArrowUp", "ArrowUp", "Space", "ArrowLeft", "Space"):
        visit.page.keyboard.press(key)
    run(panel, "Paint")
    asked = visit.asked("Generate")[-1]
    assert asked["strength"] == 0.6
    for each in (asked["initImage"], asked["mask"]):
        assert struct.unpack(">II", base64.b64decode(each["data"])[16:24]) == (128, 128)  # as PNG has it
    seen(panel.locator(".grid .slot img").first)
    panel.get_by_role("button", name="No marks").click()
    run(panel, "Paint")
    assert "mask" not in visit.asked("Generate")[-1]
    panel.get_by_role("button", name="No picture").click()
    panel.get_by_label("Steps").fill("1000")
    assert panel.get_by_role("application").count() == 0


def _stops(visit: Visit, panel: Locator) -> None:
    """What was stopped costs the platform nothing more."""
    before = _at_work(visit)
    form = panel.locator("form").first
    form.get_by_role("button", name="Paint").click()
    expect(form.get_by_role("status")).to_contain_text("Step ")
    assert _at_work(visit) == before + 1
    stop = form.get_by_role("button", name="Stop")
    stop.focus()
    visit.page.keyboard.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Stopped.")
    expect(form.get_by_role("button", name="Paint")).to_be_focused()  # not lost with the button
    visit.page.wait_for_function(
        "async was => (await (await fetch('readyz')).json()).services.diffusion.backends[0].inflight === was",
        arg=before,
    )


def _at_work(visit: Visit) -> int:
    return visit.page.evaluate(
        "async () => (await (await fetch('readyz')).json()).services.diffusion.backends[0].inflight"
    )
