"""Text: two models write on from one prompt; what may come next follows every change."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import Visit, pull, run, visiting

PROMPT = "He devoured the orange"
ROWS = 8


def text(url: str) -> None:
    """Bars at once, then both texts; links, orders, temperature, a click on a bar, chat."""
    with visiting(url) as visit:
        panel = visit.open(f"text?prompt={PROMPT.replace(' ', '+')}&seed=7")
        expect(panel.get_by_label("Prompt")).to_have_value(PROMPT)
        bars = visit.card("Transformer").locator(".bar-row")
        expect(bars).to_have_count(ROWS)  # before anything was clicked
        expect(visit.card("N-gram").locator(".bar-row").first).to_be_visible()
        _temperature(visit, panel, bars)
        _order(visit, panel)
        _writes(visit, panel)
        _a_bar_writes(visit, panel)
        _unbounded(visit, panel)
        visit.check()
        _no_template(visit)


def _shares(bars: Locator) -> list[str]:
    return bars.locator(".share").all_inner_texts()


def _temperature(visit: Visit, panel: Locator, bars: Locator) -> None:
    before = _shares(bars)
    pull(panel.get_by_label("Temperature").first, 0.2)
    visit.page.wait_for_function(
        "was => document.querySelector('#panel-text .bar-row .share').textContent !== was", arg=before[0]
    )
    assert float(_shares(bars)[0].split()[0]) > float(before[0].split()[0])  # colder is surer
    pull(panel.get_by_label("Temperature").first, 0.8)


def _order(visit: Visit, panel: Locator) -> None:
    symbols = {}
    for order in (1, 5):
        pull(panel.get_by_label("Order N of the n-gram"), order)
        used = "0 symbols" if order == 1 else "4 symbols"
        if order == 1:
            expect(visit.card("N-gram").locator(".next .note")).not_to_contain_text("4 symbols")
        else:
            expect(visit.card("N-gram").locator(".next .note")).to_contain_text(used)
        symbols[order] = visit.card("N-gram").locator(".bar-row code").all_inner_texts()
    assert symbols[1] != symbols[5]


def _writes(visit: Visit, panel: Locator) -> None:
    run(panel, "Write")
    requests = visit.asked("GenerateStream")
    assert {each["model"] for each in requests} == {"storyteller", "moby-ngram"}
    assert all(each["prompt"] == PROMPT and each["sampling"]["seed"] == 7 for each in requests)
    texts = {}
    for title, kind in (("Transformer", "storyteller"), ("N-gram", "moby-ngram")):
        card = visit.card(title)
        texts[title] = card.locator(".written").inner_text()
        assert texts[title].startswith(PROMPT)
        assert card.locator(".piece").count() > 60
        expect(card.locator(".note").first).to_contain_text(f"{kind}: 80 tokens")
    assert texts["N-gram"][len(PROMPT) :].isupper()  # the alphabet of its table
    assert "seed=7" in visit.page.url
    assert "temperature" not in visit.page.url  # as the form has it anyway
    run(panel, "Write")
    assert visit.card("Transformer").locator(".written").inner_text() == texts["Transformer"]


def _a_bar_writes(visit: Visit, panel: Locator) -> None:
    bar = visit.card("Transformer").locator("button.bar-row").first
    # In one go: bars that are still to come take the place of those that were read.
    shown = bar.evaluate(
        "bar => { const text = bar.querySelector('code').innerText; bar.click(); return text }"
    )
    piece = shown.replace("␣", " ").replace("↵", "\n")
    expect(panel.get_by_label("Prompt")).to_have_value(PROMPT + piece)


def _unbounded(visit: Visit, panel: Locator) -> None:
    panel.get_by_label("Beside it").select_option("moby-unbounded")
    expect(panel.locator(".value").filter(has_text="unbounded")).to_be_visible()
    panel.get_by_label("Prompt").fill("CALL ME ISHMA")
    first = visit.card("N-gram").locator(".bar-row code").first
    expect(first).to_have_text("E")
    expect(visit.card("N-gram").locator(".next .note")).to_contain_text("13 symbols")
    panel.get_by_label("Beside it").select_option("")
    expect(visit.card("N-gram").locator(".bar-row")).to_have_count(0)


def _no_template(visit: Visit) -> None:
    """The model's own refusal stands beside the form; the conversation stays empty."""
    chat = visit.card("Chat")
    chat.get_by_label("Model").select_option("storyteller")
    chat.get_by_role("button", name="Say it").click()
    expect(chat.get_by_role("alert").filter(has_text="has no chat template")).to_be_visible()
    expect(chat.locator(".chat p")).to_have_count(0)
    assert len(visit.complaints()) == 1  # the browser tells of the HTTP status
