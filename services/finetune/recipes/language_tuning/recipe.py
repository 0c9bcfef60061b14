"""One fine-tune of a language model, from texts and a base to a version; alone and as a job."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.common.errors import ServiceError
from services.common.store import Kind, Manifest
from services.finetune.recipes.base import Base, open_base
from services.finetune.recipes.candidates.folder import Candidates
from services.finetune.recipes.candidates.offering import Judged, Offers, run_offering
from services.finetune.recipes.candidates.publishing import publish_best
from services.finetune.recipes.choices.tune_lm import LoraOptions, Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.language_tuning.documents import PLAIN_TEMPLATE, Document, read_documents
from services.finetune.recipes.language_tuning.network import Network
from services.finetune.recipes.language_tuning.splitting import split
from services.finetune.recipes.language_tuning.training import Training
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.resumable import Pace, Resumable
from services.finetune.recipes.task import Task
from services.finetune.recipes.version import Corpus, begin, finish, publish
from services.finetune.recipes.watching import Alone, Watcher

_TEMPLATE = "chat_template.jinja"


@dataclass(frozen=True)
class Data:
    """Where texts lie."""

    learnt: Path
    held_out: Path | None = None
    """None: a share of the others."""
    about: str = ""
    """What they are, in a sentence; "": how many there are."""


class Tuning:
    """What is learnt, and what its candidates are."""

    def __init__(self, data: Data, base: Base, work: Path, options: Options, watcher: Watcher) -> None:
        """Raises ValueError for texts or a base that are none, and where nothing is to be learnt."""
        self.options, self.watcher, self._about = options, watcher, data.about
        self.base = base
        network = Network(base.folder, options, Device(options.device, options.threads))
        documents = read_documents(data.learnt, network.tokenizer, watcher.logged)
        learnt, held_out = (
            (documents, read_documents(data.held_out, network.tokenizer, watcher.logged))
            if data.held_out is not None
            else split(documents, options.held_out, options.seed)
        )
        self._documents, self._sha256 = len(documents), _sha256(learnt, held_out)
        self._is_chat = any(each.is_chat for each in documents)
        watcher.progressed(0, 1, "measuring the base")
        self.training = Training(network, learnt, held_out, options)
        if self.training.is_apart:
            watcher.logged("pieces of a row would see each other in this model: each has a row of its own")
        bound = options.lasting | {"documents": self._sha256, "base": base.identity}
        self.course = Resumable(work, self.training.parts, bound, options.seed, watcher=watcher)

    def train(self, offers: Offers) -> None:
        """Leave candidates in the work folder, and offer them. Raises ValueError, Stopped, Diverged."""
        self.course.resume()
        pace = Pace(self.options.steps, self.options.checkpoint_every)
        run_offering(self.course, pace, offers, self, self.training.learn)

    def judge(self) -> Judged:
        """See ``Trained``."""
        return self.training.judge()

    def write(self, folder: Path) -> None:
        """See ``Trained``."""
        self.training.write(folder, self.base.reference)
        is_lora = isinstance(self.options, LoraOptions)
        template = (
            "" if self.training.network.tokenizer.chat_template or not self._is_chat else PLAIN_TEMPLATE
        )
        config: dict[str, Any] = {
            "base": self.base.reference,
            "base_digest": self.base.digest,
            "documents": {"count": self._documents, "sha256": self._sha256, "chat": self._is_chat},
            "rows": len(self.training.rows),
            "tokens": self.training.rows.tokens,
            "training": asdict(self.options),
        }
        if is_lora:
            config |= {"peft_type": "LORA"}
        if template:  # the base has none: without it nobody could ask as was learnt
            config |= {"chat_template": template}
            (folder / _TEMPLATE).write_text(template)
        kind, family = (Kind.ADAPTER, "lora") if is_lora else (Kind.LANGUAGE_MODEL, self.base.family)
        counted = f"{self._documents} {'conversations' if self._is_chat else 'texts'}"
        corpus = Corpus((), self._about or counted, "")
        recipe = "lora_lm" if is_lora else "full_lm"
        publish(corpus, folder, kind, family, config, {}, recipe, self.base.reference)


def train(data: Path, base: Path, work: Path, out: Path, options: Options, pick: int = 0) -> Manifest:
    """Train, and publish the best candidate, or the one of step ``pick``, as the new version ``out``.

    Raises ValueError, and FileExistsError for a version there is.
    """
    begin(out)
    start = open_base(base, "", Kind.LANGUAGE_MODEL)
    tuning = Tuning(Data(data), start, work, options, Alone())
    tuning.train(Offers(work, Alone(), options.keep_checkpoints, options.patience))
    figures = {"training_seconds": round(tuning.course.seconds, 1)}
    return publish_best(Candidates(work), out, figures, tuning.course.curve(), pick)


def run(kind: type[Options], task: Task, watcher: Watcher) -> None:
    """As a job."""
    assert task.data is not None
    assert task.base is not None
    options = task.options(kind, checkpoint_every=task.checkpoint_every or kind.checkpoint_every)
    base = open_base(task.base, task.base_version, Kind.LANGUAGE_MODEL)
    data = Data(task.data, task.validation, task.training_data)
    tuning = Tuning(data, base, task.work, options, watcher)
    tuning.train(Offers(task.work, watcher))


def main(about: str | None, name: str, defaults: Options, arguments: Sequence[str] | None) -> None:
    """From the command line."""
    options = argparse.ArgumentParser(description=about, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--data", type=Path, required=True, help="a file or folder of texts, or of .jsonl")
    options.add_argument("--base", type=Path, required=True, help="version, or folder of Transformers")
    options.add_argument("--work", type=Path, required=True, help="folder of checkpoints and candidates")
    options.add_argument("--out", type=Path, required=True, help="folder of the new version")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    options.add_argument("--pick", type=int, default=0, help="step of the candidate to publish (0: the best)")
    add_flags(options, defaults)
    chosen = options.parse_args(arguments)
    try:
        settings = read_flags(type(defaults), chosen)
        manifest = train(chosen.data, chosen.base, chosen.work, chosen.out, settings, chosen.pick)
    except (ValueError, OSError, ServiceError) as error:
        options.exit(2, f"{name}: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


def _sha256(learnt: Sequence[Document], held_out: Sequence[Document]) -> str:
    told = hashlib.sha256()
    for document in (*learnt, *held_out):
        told.update(f"{len(document.text)} {document.spans} {document.text}".encode())
    return told.hexdigest()
