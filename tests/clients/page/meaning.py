"""Tokens and meaning: cuts, words, the map, sentences."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.clients.page.browser import Visit, run, visiting


def meaning(url: str) -> None:
    """Each part shows what the API says."""
    with visiting(url) as visit:
        visit.open("tokens")
        _cuts(visit)
        _words(visit)
        _map(visit)
        _sentences(visit)


def _cuts(visit: Visit) -> None:
    card = visit.card("What a model reads")
    expect(card.get_by_role("heading", level=4).first).to_have_text("cl100k: 11 tokens, 26 bytes")  # at once
    expect(card.get_by_role("heading", level=4).last).to_have_text("gpt2: 13 tokens, 26 bytes")
    first = card.locator(".cuts").first.locator("li").first
    assert first.locator("span").all_inner_texts() == ["Who", "15546", "3 B"]
    card.get_by_label("Text").fill("two words")  # it follows the typing
    expect(card.get_by_role("heading", level=4).first).to_have_text("cl100k: 2 tokens, 9 bytes")
    assert card.locator(".cuts").first.locator(".text").all_inner_texts() == ["two", "␣words"]
    card.get_by_label("By", exact=True).select_option("storyteller")
    expect(card.get_by_role("heading", level=4).first).to_contain_text("storyteller: ")


def _rows(card: Locator) -> list[str]:
    return card.locator(".bar-row code").all_inner_texts()


def _words(visit: Visit) -> None:
    analogy = visit.card("Analogy")
    run(analogy, "Work it out")
    assert _rows(analogy)[0] == "father"
    neighbours = visit.card("Neighbours")
    neighbours.get_by_role("button", name="ship", exact=True).click()
    expect(neighbours.get_by_role("status")).to_contain_text("Nearest:")
    assert "ship" not in _rows(neighbours)
    assert len(_rows(neighbours)) == 8
    pairs = visit.card("Pairs")
    run(pairs, "Compare")
    order = _rows(pairs)
    assert order.index("horse␣cow") < order.index("horse␣ocean")


def _map(visit: Visit) -> None:
    card = visit.card("A map of words")
    card.get_by_label("Words").fill("father mother brother\nship whale ocean")
    run(card, "Draw")
    assert sorted(card.locator("svg text").all_text_contents()) == sorted(
        ["father", "mother", "brother", "ship", "whale", "ocean"]
    )
    places = card.locator("svg circle").evaluate_all(
        "all => all.map(each => [each.cx.baseVal.value, each.cy.baseVal.value])"
    )

    def apart(i: int, j: int) -> float:
        return sum((a - b) ** 2 for a, b in zip(places[i], places[j], strict=True)) ** 0.5

    families = max(apart(0, 1), apart(0, 2), apart(1, 2))
    across = min(apart(i, j) for i in range(3) for j in range(3, 6))
    assert families < across  # both groups keep to themselves
    expect(card.locator(".note").last).to_contain_text("From 300 dimensions to two")


def _sentences(visit: Visit) -> None:
    card = visit.card("Alike in meaning")
    run(card, "Compare")
    said = card.locator("svg .cell title").evaluate_all("all => all.map(each => each.textContent)")
    cosines = [float(each.rsplit(": ", 1)[1]) for each in said]
    assert len(cosines) == 16
    assert all(abs(cosines[i * 5] - 1) < 0.01 for i in range(4))  # each is like itself
    assert cosines[1] > cosines[2]  # a cat and a kitten, not a cat and stocks
    assert cosines[11] > cosines[9]
