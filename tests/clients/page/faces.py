"""Faces: of nobody, walked through, mixed, edited, looked for, compared."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import WAIT, Visit, pull, run, seen, visiting


def faces(url: str) -> None:
    """Each part, from the face that the first one shows."""
    with visiting(url, reduced_motion="reduce") as visit:
        visit.open("faces")
        _nobody(visit)
        _walk(visit)
        _mix(visit)
        _edit(visit)
        _look_for(visit)
        _no_copy(visit)
        _race(visit)


def _shown(card: Locator) -> Locator:
    return card.locator(".slot img:visible")


def _nobody(visit: Visit) -> None:
    card = visit.card("This person does not exist")
    seen(_shown(card).first)  # without a click
    expect(card.locator(".pick img")).to_have_count(12)
    before = _shown(card).first.get_attribute("src")
    card.get_by_role("button", name="Another person").click()
    visit.page.wait_for_function(
        "was => document.querySelector('#panel-faces .slot.large img').src !== was", arg=before
    )
    card.get_by_label("Seed", exact=True).fill("6")
    run(card, "Draw")
    assert _shown(card).first.get_attribute("src") == before  # the same seed, the same face
    card.get_by_text("Attributes").click()
    card.get_by_label("background").select_option("blue")
    run(card, "Draw")
    assert visit.asked("Sample")[-1]["options"]["attributes"] == {"background": "blue"}
    card.get_by_role("button", name="Take seed 9").click()
    expect(card.locator("figcaption").first).to_contain_text("seed 9")


def _walk(visit: Visit) -> None:
    card = visit.card("A walk through faces")
    pull(card.get_by_label("Frames"), 12)
    run(card, "Walk")
    expect(card.get_by_role("status")).to_contain_text("12 frames")
    seen(_shown(card).first)
    expect(card.get_by_role("button", name="Play")).to_be_visible()  # who wants no motion starts it
    place = card.get_by_label("Frame of the walk")
    still = _shown(card).first.get_attribute("src")
    pull(place, 6)
    assert _shown(card).first.get_attribute("src") != still
    card.get_by_role("button", name="Play").click()
    expect(place).not_to_have_value("6")
    card.get_by_role("button", name="Pause").click()


def _mix(visit: Visit) -> None:
    card = visit.card("Mix")
    run(card, "Mix")
    assert visit.asked("Mix")[-1]["donors"] == [{"origin": {"seed": 12}, "layers": [2, 3, 4]}]
    assert _shown(card).count() == 2


def _edit(visit: Visit) -> None:
    card = visit.card("Edit")
    card.get_by_label("Direction").select_option("background:green")
    pull(card.get_by_label("How far", exact=True), 4)
    expect(card.get_by_role("status")).to_have_text("background: green, 4.")
    before, after = (_shown(card).nth(i).get_attribute("src") for i in range(2))
    assert before != after
    card.get_by_role("button", name="Take it").click()
    top = visit.card("This person does not exist").locator("figcaption").first
    expect(top).to_contain_text("seed 9, background:green 4")
    expect(card.get_by_role("status")).to_have_text("background: green, 4.")  # now of that face


def _look_for(visit: Visit) -> None:
    card = visit.card("Look for a face")
    pull(card.get_by_label("Steps"), 20)
    run(card, "Look for it")
    expect(card.get_by_role("status")).to_contain_text(" dB, similarity ", timeout=WAIT)
    assert _shown(card).count() == 2


def _no_copy(visit: Visit) -> None:
    card = visit.card("No copy")
    run(card, "Search")
    expect(card.get_by_role("status")).to_contain_text("of 25,000 drawings")
    expect(card.locator("figure")).to_have_count(4)
    expect(card.locator("figcaption").first).to_contain_text("% alike")
    expect(card.locator(".note").last).to_contain_text("The discriminator thinks it more real than")


def _race(visit: Visit) -> None:
    card = visit.card("Side by side")
    run(card, "Race")
    assert _shown(card).count() == 2
    times = card.locator("figcaption").all_inner_texts()
    assert [each.split(",")[0] for each in times] == ["GAN", "Diffusion"]
    expect(card.get_by_role("status")).to_contain_text("times as long")
    assert visit.asked("Generate")[-1]["prompt"] == (
        "a smiling person with red hair and round glasses, blue background"
    )
