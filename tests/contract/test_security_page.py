"""deploy/SECURITY.md names what is there: files, settings, targets; and says the defaults as they are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.keys.ring import POLL_SECONDS
from gateway.routes.body import BODY_SECONDS, MAX_DEPTH
from gateway.settings import Policy
from services.common.pictures.reading import MOST_BYTES, MOST_PIXELS, MOST_SIDE
from services.common.rpc.paging import MAX_PAGE_SIZE
from services.common.rpc.server import MAX_MESSAGE_BYTES
from services.common.rpc.status import MOST_MESSAGE
from services.diffusion import request as paintings
from services.diffusion.settings import DiffusionSettings
from services.finetune.datasets.checking.lines import MOST_LINE
from services.finetune.datasets.checking.pictures import MOST_CAPTION
from services.finetune.datasets.dataset import MOST_FILES
from services.finetune.datasets.serving.request import MOST_CHUNK
from services.finetune.datasets.serving.servicer import MOST_UPLOADS
from services.finetune.settings import FinetuneSettings
from services.gan import fields as gan
from services.gan import requests as faces
from services.gan.settings import GanSettings
from services.sampler import request as texts
from services.sampler.settings import SamplerSettings
from services.tokenizer import request as tokens
from services.tokenizer.settings import TokenizerSettings
from tests.contract.test_readme import settings_variables

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "deploy/SECURITY.md").read_text()
LIMITS = PAGE.partition("## Limits of a request")[2].partition("\n## ")[0]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[a-z_]+/)+[a-z_]*(?:\.[a-z]+)?)`", PAGE))))
def test_every_path_exists(path):
    assert path.startswith("var/") or (ROOT / path).exists()


def test_every_variable_is_a_setting():
    assert set(re.findall(r"PEQUOD_[A-Z_]+[A-Z]", PAGE)) <= settings_variables()


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)", PAGE))))
def test_every_target_exists(target):
    assert re.search(rf"^{target}:.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("message, HTTP body", f"{MAX_MESSAGE_BYTES >> 20} MiB"),
        ("JSON", f"{MAX_DEPTH} levels"),
        ("error text", f"{MOST_MESSAGE} bytes"),
        ("time of a call", f"{Policy().unary_seconds:.0f} s"),
        ("calls of a service", f"at most {Policy().max_inflight}; {Policy().max_queue}"),
        (
            "prompt, conversation",
            f"{texts.PROMPT_BYTES >> 20} MiB; {texts.PROMPT_IDS:,} ids; {texts.MESSAGES} ",
        ),
        ("form of output", f"{texts.FORM_CHARACTERS:,} characters"),
        ("stop texts", f"{texts.BIASES:,}"),
        ("texts to cut", f"{tokens.MAX_ITEMS:,}, {tokens.MAX_TEXT_BYTES >> 20} MiB each"),
        ("texts to cut", f"{tokens.MAX_IDS:,} ids"),
        ("compared", f"{tokens.MAX_COMPARED} a side; {tokens.MAX_ANALOGY_WORDS}; {tokens.MAX_NEIGHBORS}"),
        ("picture", f"{MOST_BYTES >> 20} MiB, {MOST_SIDE} a side, {MOST_PIXELS // 10**6} million"),
        ("faces", f"{gan.MOST_IMAGES}, {faces.MOST_STOPS}, {faces.MOST_FRAMES}, {faces.MOST_DONORS}, "),
        ("numbers of a latent code", f"{gan.MOST_CODE:,}"),
        ("JSON", f"a body within {BODY_SECONDS:.0f} s"),
        ("text of a picture", f"{paintings.PROMPT_BYTES >> 10} KiB"),
        ("picture", f"to enlarge {paintings.UPSCALED_SIDE} x {paintings.UPSCALED_SIDE}"),
        ("steps, images, candidates", f"{paintings.MOST_STEPS}, "),
        ("steps, images, candidates", f", {paintings.MOST_ADAPTERS} |"),
        ("completion", f"{SamplerSettings().max_tokens:,} tokens"),
        ("sequences running", f"{SamplerSettings().max_running}, {SamplerSettings().max_waiting}"),
        ("inputs, jobs waiting", f"{TokenizerSettings().max_waiting:,}, {TokenizerSettings().max_work}"),
        ("images waiting", f"{DiffusionSettings().max_images}, {GanSettings().max_images}"),
        ("projections, moving", f"{GanSettings().max_projections}, {GanSettings().max_animations}"),
        ("uploads at a time", f"{MOST_UPLOADS}, {MOST_CHUNK >> 20} MiB"),
        ("line of a data set", f"{MOST_LINE >> 20} MiB, {MOST_CAPTION >> 10} KiB"),
        ("pages", f"{MAX_PAGE_SIZE} entries"),
        ("files of a data set", f"{MOST_FILES:,}; {FinetuneSettings().quota_bytes >> 30} GiB"),
    ],
)
def test_a_limit_is_what_the_page_says(row, says):
    [line] = [line for line in LIMITS.splitlines() if line.startswith((f"| {row} |", f"| {row}"))][:1]
    assert says in line


def test_a_revoked_key_ends_when_the_page_says():
    assert POLL_SECONDS == 1.0
    assert "a revoked key for a second" in PAGE


def test_every_line_of_the_threat_model_names_a_test_that_runs():
    table = PAGE.partition("## Who may try what")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    for row in rows:
        named = re.findall(r"`(tests/[^`]+)`", row.rsplit("|", 2)[1])
        assert named, row
        for each in named:
            text = (ROOT / each).read_text()
            assert "def test_" in text or "targets/" in each, each
