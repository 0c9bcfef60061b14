"""Inside the transformer: three phases of a prompt."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.page.browser import Visit, pull, run, visiting

TOKENS = ["C", "all", "␣me", "␣I", "sh", "ma", "el", "."]


def inside(url: str) -> None:
    """The matrix that goes in, attention by layer and head, read-outs, what comes out."""
    with visiting(url) as visit:
        panel = visit.open("inside")
        run(panel, "Look inside")
        expect(panel.get_by_role("status").first).to_contain_text(
            "8 tokens, vectors of 256 numbers, 6 layers"
        )
        _embedding(visit)
        _attention(visit)
        _read_outs(visit)
        out = visit.card("3 · Unembedding").locator(".bar-row")
        expect(out).to_have_count(8)


def _embedding(visit: Visit) -> None:
    card = visit.card("1 · Embedding")
    assert card.locator(".names li").all_inner_texts() == TOKENS
    size = card.locator("canvas").evaluate("each => [each.width, each.height]")
    assert size == [20 * len(TOKENS), 256]
    colours = card.locator("canvas").evaluate(
        "each => new Set(each.getContext('2d').getImageData(0, 0, 1, each.height).data).size"
    )
    assert colours > 16  # numbers of both signs and many sizes


def _attention(visit: Visit) -> None:
    card = visit.card("2 · Transformation")
    weights = _weights(visit)
    for i, row in enumerate(weights):
        assert abs(sum(row) - 1) < 0.03
        assert all(each == 0 for each in row[i + 1 :])  # nobody looks ahead
    pull(card.get_by_label("Head"), 2)
    pull(card.get_by_label("Layer", exact=True), 4)
    expect(card.locator(".value").first).to_have_text("4")
    assert _weights(visit) != weights
    visit.page.mouse.move(0, 0)  # a pointer that rests on a row counts too
    card.locator("g.row").first.focus()
    expect(card.get_by_role("status")).to_have_text("“C” looks at “C” (100 %), “all” (0 %), “␣me” (0 %).")


def _weights(visit: Visit) -> list[list[float]]:
    said = (
        visit.card("2 · Transformation")
        .locator("svg .cell title")
        .evaluate_all("all => all.map(each => each.textContent)")
    )
    shares = [float(each.rsplit(": ", 1)[1].removesuffix(" %").removeprefix("< ")) / 100 for each in said]
    assert len(shares) == len(TOKENS) ** 2
    return [shares[i : i + len(TOKENS)] for i in range(0, len(shares), len(TOKENS))]


def _read_outs(visit: Visit) -> None:
    rows = visit.card("2 · Transformation").locator("tbody tr")
    expect(rows).to_have_count(7)
    assert rows.locator("th").all_inner_texts() == ["embedding", "1", "2", "3", "4", "5", "6"]
    last = rows.last.locator("li code").first.inner_text()
    assert last == visit.card("3 · Unembedding").locator(".bar-row code").first.inner_text()
