"""Fine-tune: data, a job to its end, what it serves; promotion by hand, pause, resume, cancel."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import Visit, run, visiting

LONG = 240_000
"""Milliseconds of a short job, other work beside it."""


def learning(url: str) -> None:
    """Verses to an adapter that writes; pictures to a data set; the other ends of jobs."""
    with visiting(url, 1280, 1200) as visit:
        visit.open("finetune")
        _pictures(visit)
        _verses(visit)
        _serves(visit)
        _by_hand(visit)
        _pause_resume_cancel(visit)


def state(visit: Visit) -> Locator:
    return visit.card("3 · How it goes").get_by_role("status")


def _pictures(visit: Visit) -> None:
    card = visit.card("1 · Data")
    run(card, "Upload")
    expect(card.locator(".report")).to_contain_text("faces-8.zip: 8 examples")
    expect(card.locator(".pick img")).to_have_count(8)
    expect(visit.card("2 · Job").get_by_label("Recipe", exact=True)).to_have_value("dreambooth")


def _verses(visit: Visit) -> None:
    data, job = visit.card("1 · Data"), visit.card("2 · Job")
    data.get_by_label("From").select_option("verses")
    run(data, "Upload")
    expect(data.locator(".report")).to_contain_text("kraken.jsonl: 40 examples")
    expect(job.get_by_label("Recipe", exact=True)).to_have_value("lora_lm")
    expect(job.get_by_label("From", exact=True)).to_have_value("storyteller")
    job.get_by_text("More").click()
    settings = job.get_by_label("The recipe's own settings")
    settings.fill("rank 4")
    job.get_by_role("button", name="Start the job").click()
    expect(settings.locator("xpath=..").get_by_role("alert")).to_contain_text("This is not JSON")
    settings.fill('{"window": 64, "preview_tokens": 4, "rate": 0.02}')
    job.get_by_label("Steps between checkpoints").fill("3")
    start(job, name="page-kraken", steps=6)


def start(job: Locator, name: str, steps: int) -> None:
    job.get_by_label("Name of the result").fill(name)
    job.get_by_label("Steps", exact=True).fill(str(steps))
    run(job, "Start the job")


def _serves(visit: Visit) -> None:
    card = visit.card("3 · How it goes")
    expect(state(visit)).to_have_text("The job succeeded.", timeout=LONG)
    expect(card.locator(".served")).to_contain_text("Served as page-kraken:")
    points = card.locator("svg .curve").get_attribute("points").split()
    assert len(points) >= 2
    heights = [float(each.split(",")[1]) for each in points]
    assert heights[-1] > heights[0]  # the loss fell; downwards is more
    expect(card.locator("blockquote").first).to_contain_text("step 6")
    ranks = card.locator("tbody th")
    expect(ranks).to_have_text(["1", "2"])
    expect(card.locator("tbody button").first).to_be_disabled()  # the best is the one that is served
    card.get_by_role("link", name="write with it").click()
    panel = visit.panel("text")
    expect(panel.get_by_label("Adapter").first).to_have_value("page-kraken")
    run(panel, "Write")
    assert any(each.get("adapter") == "page-kraken" for each in visit.asked("GenerateStream"))
    visit.page.get_by_role("tab", name="Fine-tune").click()


def _by_hand(visit: Visit) -> None:
    """The second best is served in place of the best."""
    buttons = visit.card("3 · How it goes").locator("tbody button")
    buttons.nth(1).click()
    expect(buttons.nth(1)).to_have_text("Served")
    expect(buttons.nth(0)).to_have_text("Promote")
    promoted = visit.asked("PromoteCheckpoint")
    assert len(promoted) == 1
    assert promoted[0]["checkpointId"].startswith(promoted[0]["jobId"])


def _pause_resume_cancel(visit: Visit) -> None:
    job, card = visit.card("2 · Job"), visit.card("3 · How it goes")
    start(job, name="page-long", steps=5000)
    expect(state(visit)).to_contain_text("Step ", timeout=LONG)
    card.get_by_role("button", name="Pause").click()
    expect(state(visit)).to_have_text("The job is paused.", timeout=LONG)
    card.get_by_role("button", name="Resume").click()
    expect(state(visit)).not_to_have_text("The job is paused.", timeout=LONG)
    card.get_by_role("button", name="Cancel").click()
    expect(state(visit)).to_have_text("The job was cancelled.", timeout=LONG)
    visit.check()
    card.get_by_role("button", name="Resume").click()
    expect(card.get_by_role("alert").first).not_to_be_empty()  # it has ended
    assert len(visit.complaints()) == 1
