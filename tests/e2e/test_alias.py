"""An alias moves under load: no call fails, and the new version answers."""

import json

import pytest

from pequod.sampler.v1 import GenerateRequest, Stopping
from services.finetune.recipes.ngram import train
from services.finetune.recipes.version import Corpus
from tests.e2e.conftest import Load

TEXTS = {"1": "AB " * 50, "2": "XY " * 50}


@pytest.fixture(scope="module")
def moving(platform):
    """A model with two versions that write different letters."""
    for version, text in TEXTS.items():
        train(Corpus([text]), platform.folder / "var/models/moving" / version, order=2)
    return "moving"


def test_an_alias_switched_under_load_fails_no_call(platform, moving):
    alias = ("models", "alias", moving, "production")
    assert platform.run(*alias, "1").returncode == 0
    request = GenerateRequest(model=moving, prompt="", stopping=Stopping(max_tokens=16))
    with Load(platform.grpc, request) as load:
        load.wait_for("OK", 50)
        for version in ("2", "1", "2"):
            done = platform.run(*alias, version, "--json")
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["model"]["version"] == version
            load.wait_for("OK", 50, since=load.last())
    assert {outcome for _, outcome in load.outcomes} == {"OK"}
    assert {reply.usage.version for reply in load.replies} == {"1", "2"}
    assert load.replies[-1].usage.version == "2"
    for reply in load.replies:
        letters = set(reply.completions[0].text) - {" "}
        assert letters <= set(TEXTS[reply.usage.version]), "each answer comes from one version alone"


def test_a_stale_expectation_is_refused(platform, moving):
    assert platform.run("models", "alias", moving, "candidate", "1").returncode == 0
    done = platform.run("models", "alias", moving, "candidate", "2", "--expect", "2")
    assert done.returncode == 1
    assert "points at 1" in done.stderr
