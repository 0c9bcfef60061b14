"""What is told of a run that ended with an error."""

from __future__ import annotations

from services.finetune.jobs.states import State
from services.finetune.worker.outcomes import outcome_of

SECRET = "dGhpcyBpcyBhIHNlY3JldA"


def test_a_secret_that_the_end_of_the_sentence_cuts_leaves_no_beginning(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    report = outcome_of(ValueError(f"{'a' * 1990}{SECRET}"))
    assert report.state is State.FAILED
    assert len(report.error.message) <= 2000
    assert SECRET[:8] not in report.error.message
