"""Fine-tune to chat: conversations make a model that has a chat template, and the page talks to it."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.clients.page.browser import run, visiting
from tests.clients.page.learning import LONG, start, state


def talking(url: str) -> None:
    """From conversations to an answer, and to an answer that knows the one before."""
    with visiting(url, 1280, 1200) as visit:
        visit.open("finetune")
        data, job = visit.card("1 · Data"), visit.card("2 · Job")
        data.get_by_label("From").select_option("talks")
        run(data, "Upload")
        expect(job.get_by_label("Recipe", exact=True)).to_have_value("full_lm")
        start(job, name="page-captain", steps=4)
        expect(state(visit)).to_have_text("The job succeeded.", timeout=LONG)
        visit.card("3 · How it goes").get_by_role("link", name="write with it").click()
        chat = visit.card("Chat")
        expect(chat.get_by_label("Model")).to_have_value("page-captain")
        for count, question in ((2, "Who was Ahab?"), (4, "Where do we sail?")):
            chat.get_by_label("Message").fill(question)
            run(chat, "Say it", LONG)  # the first waits while the model's graphs are made
            expect(chat.locator(".chat p")).to_have_count(count)
        roles = [each["role"] for each in visit.asked("GenerateStream")[-1]["chat"]["messages"]]
        assert roles == ["user", "assistant", "user"]
        chat.get_by_role("button", name="New conversation").click()
        expect(chat.locator(".chat p")).to_have_count(0)
        visit.complaints()  # of the answers while it loaded
