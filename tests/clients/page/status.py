"""Status: services, jobs, models, asked again and again while the tab is open."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.page.browser import visiting

SERVICES = ["tokenizer", "sampler", "diffusion", "gan", "finetune"]


def status(url: str) -> None:
    """What is ready, and that the tab rests while it is not looked at."""
    with visiting(url) as visit:
        panel = visit.open("status")
        expect(panel.get_by_role("status")).to_have_text("Every service is ready.")
        services = visit.card("Services").locator("tbody tr")
        assert services.locator("th").all_inner_texts() == SERVICES
        assert set(services.locator(".light").all_inner_texts()) == {"ready"}
        models = visit.card("Models").locator("tbody th")
        expect(models.first).to_be_visible()
        shipped = {"storyteller", "moby-ngram", "peeps-diffusion", "peeps-gan", "words", "minilm"}
        assert shipped <= set(models.all_inner_texts())
        expect(visit.card("Services").locator(".note")).to_contain_text("Fine-tuning jobs:")

        held = visit.card("Memory and disks").locator("tbody tr")
        expect(held.locator("th")).to_have_text(SERVICES)  # it comes later than the services
        expect(held.first.locator("td").first).to_contain_text("MB of ")
        training = held.last.locator("td")
        expect(training.first).to_contain_text("by jobs")
        expect(training.nth(3)).to_contain_text("a tenant")
        expect(training.nth(4)).to_contain_text("checkpoints ")

        def polls() -> int:
            return sum(each.url.endswith("/readyz") for each in visit.requests)

        before = polls()
        visit.page.wait_for_timeout(4000)
        assert polls() > before
        visit.page.get_by_role("tab", name="Inside the transformer").click()
        visit.page.wait_for_timeout(500)  # one that was under way
        resting = polls()
        visit.page.wait_for_timeout(4000)
        assert polls() == resting
