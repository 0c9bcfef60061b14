"""A promotion while requests run: none fails, and each is answered by the old version or by the new one."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from PIL import Image

from pequod.diffusion import v1 as diffusion
from pequod.finetune.v1 import PromoteCheckpointRequest
from pequod.model.v1 import SetAliasRequest
from pequod.sampler import v1 as sampler
from pequod_client import Client
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER, Peeps
from tests.e2e.conftest import started
from tests.unit.finetune.job_parts import book

QUIET = {
    "PEQUOD_SAMPLER_PRELOAD": "",
    "PEQUOD_TOKENIZER_PRELOAD": "",
    "PEQUOD_DIFFUSION_PRELOAD": "peeps-diffusion",
}
BETWEEN = 1.5
"""Seconds between two moves of the alias: longer than it takes a service to hear of one."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A platform that trains."""
    with started(tmp_path_factory.mktemp("load"), **QUIET) as platform:
        yield platform


class Load:
    """Callers that ask without pause; what each answer was, in their order."""

    def __init__(self, ask: Callable[[], str], callers: int) -> None:
        self.answers: list[str] = []
        self.failures: list[Exception] = []
        self._ask, self._ends = ask, threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def _call(self) -> None:
        while not self._ends.is_set():
            try:
                self.answers.append(self._ask())
            except Exception as error:
                self.failures.append(error)

    @contextlib.contextmanager
    def going(self) -> Iterator[Load]:
        for each in self._threads:
            each.start()
        try:
            yield self
        finally:
            self._ends.set()
            for each in self._threads:
                each.join()

    def until(self, wanted: str, seconds: float = 60) -> None:
        """Until the newest answers are ``wanted``, as many as there are callers twice over."""
        deadline, count = time.monotonic() + seconds, 2 * len(self._threads)
        while set(self.answers[-count:]) != {wanted} or len(self.answers) < count:
            assert time.monotonic() < deadline, (wanted, self.answers[-count:], self.failures[:1])
            time.sleep(0.05)


def moved_to_and_fro(client: Client, load: Load, job_id: str, name: str, checkpoints: list[str], say) -> None:
    """Promote the second checkpoint under load, roll back, and forth again."""
    old, new = say("1"), ""
    with load.going():
        load.until(old)
        request = PromoteCheckpointRequest(job_id=job_id, checkpoint_id=checkpoints[1], name=name)
        promoted = client.finetune.PromoteCheckpoint(request)
        assert (promoted.model.version, promoted.previous_version) == ("2", "1")
        new = say("2")
        assert new != old
        load.until(new)
        for version, answer in (("1", old), ("2", new), ("1", old)):
            client.models.SetAlias(SetAliasRequest(name=name, alias="production", version=version))
            load.until(answer)
            time.sleep(BETWEEN)
    assert load.failures == []
    assert set(load.answers) == {old, new}


def finished(shop, data, *flags):
    """The id of a job that has ended well, and its checkpoints by step."""
    done = shop.run("finetune", data, *flags, "--manual", "--seed", "1", "--watch", "--json", timeout=200)
    assert done.returncode == 0, done.stderr
    job_id = json.loads(done.stdout.splitlines()[-1])["jobId"]
    listed = json.loads(shop.run("jobs", "checkpoints", job_id, "--json").stdout)["checkpoints"]
    return job_id, [each["checkpointId"] for each in sorted(listed, key=lambda each: int(each["step"]))]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_adapter_of_pictures_is_promoted_while_it_is_used(shop):
    (shop.folder / "person").mkdir()
    for number, pixels in enumerate(Peeps(HELD_OUT_FOLDER).images[:5]):
        Image.fromarray(pixels).save(shop.folder / f"person/{number}.png")
    quick = ("--steps", "8", "--checkpoint-every", "4", "--set", "prior_images=4")
    job_id, checkpoints = finished(shop, "person", "--as", "sks person", *quick)
    with Client(shop.grpc) as client:
        first = PromoteCheckpointRequest(job_id=job_id, checkpoint_id=checkpoints[0], name="sks")
        client.finetune.PromoteCheckpoint(first)

        def paint(reference: str) -> str:
            """Hash of the pixels that one request gets; the file names its adapter as the request does."""
            adapter = diffusion.AdapterScale(adapter=reference)
            prompt = "sks person with a hat"
            request = diffusion.GenerateRequest(prompt=prompt, steps=4, seed=1, adapters=[adapter])
            replies = client.diffusion.Generate(request)
            (data,) = (each.image.image.data for each in replies if each.HasField("image"))
            with Image.open(io.BytesIO(data)) as picture:
                return hashlib.sha256(picture.tobytes()).hexdigest()

        load = Load(lambda: paint("sks@production"), callers=3)
        moved_to_and_fro(client, load, job_id, "sks", checkpoints, lambda version: paint(f"sks:{version}"))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_adapter_of_a_language_model_is_promoted_while_it_is_used(shop):
    (shop.folder / "books").mkdir()
    (shop.folder / "books/one.txt").write_bytes(book(1))
    quick = ("--recipe", "lora_lm", "--steps", "8", "--checkpoint-every", "4")
    job_id, checkpoints = finished(shop, "books", *quick)
    with Client(shop.grpc) as client:
        first = PromoteCheckpointRequest(job_id=job_id, checkpoint_id=checkpoints[0], name="sailor")
        client.finetune.PromoteCheckpoint(first)

        def write(reference: str) -> str:
            """A text, and how likely it was: adapters that are near each other write the same."""
            request = sampler.GenerateRequest(
                model="storyteller",
                adapter=reference,
                prompt="The sea",
                sampling=sampler.Sampling(seed=1),
                stopping=sampler.Stopping(max_tokens=8),
            )
            (completion,) = client.sampler.Generate(request).completions
            return f"{completion.text} {completion.cumulative_logprob}"

        load = Load(lambda: write("sailor"), callers=3)
        moved_to_and_fro(
            client, load, job_id, "sailor", checkpoints, lambda version: write(f"sailor:{version}")
        )
