"""Recipe pretrain_lm: a Llama-shaped language model and its byte-level encoding, from a corpus alone.

python -m services.finetune.recipes.pretrain_lm --corpus DIR --work DIR --out STORE/NAME/VERSION

Chapters of every book are held out (recipe part ``chapters``). Everything lives in the work folder while it
trains, so the same command goes on where it was stopped; ``torchrun --nproc-per-node N -m`` in place of
``python -m`` trains in N processes. The result is a Hugging Face directory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from services.common.store import Kind, Manifest
from services.finetune.recipes.language_model.baseline import kneser_ney_bits
from services.finetune.recipes.language_model.data import END, Data
from services.finetune.recipes.language_model.options import Options
from services.finetune.recipes.language_model.parallel import ALONE, Team, team
from services.finetune.recipes.language_model.training import Trainer
from services.finetune.recipes.options import add_flags, read_flags
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.texts import corpus_of
from services.finetune.recipes.version import (
    Corpus,
    begin,
    corpus_parser,
    finish,
    manifest_of,
    publish,
    read_corpus,
)
from services.finetune.recipes.watching import Alone, Watcher
from services.sampler.families import llama
from services.sampler.ngrams.tokens import Tokens
from services.sampler.transformer.model.directory import TOKENIZER_FILE, write


def train(
    corpus: Corpus,
    work: Path,
    out: Path,
    options: Options | None = None,
    among: Team = ALONE,
    watcher: Watcher | None = None,
) -> Manifest | None:
    """Train on ``corpus`` into the new version ``out``, by way of ``work``; the leader gets its manifest.

    Raises ValueError for a corpus without chapters or a work folder of other options, FileExistsError for a
    version there is, Stopped and Diverged.
    """
    chosen = options or Options()
    torch.set_num_threads(chosen.threads)
    work.mkdir(parents=True, exist_ok=True)
    begin(out)
    with among.after_the_leader():
        data = Data(corpus, work, chosen)
    trainer = Trainer(chosen, work, among, watcher)
    trainer.resume()
    trainer.run(data)
    if not among.leads:
        return None
    write(out, llama, trainer.model.cpu(), work / TOKENIZER_FILE, END)
    curve = trainer.curve()
    metrics = {
        "held_out_bits_per_byte": curve[-1]["held_out_bits_per_byte"],
        "train_loss": curve[-1]["train_loss"],
        "tokens_in_corpus": float(sum(map(len, data.train))),
        "tokens_seen": float(curve[-1]["tokens"]),
        "parameters": float(sum(each.numel() for each in trainer.model.parameters())),
        "training_seconds": round(trainer.seconds, 1),
    } | _baseline(data, work / TOKENIZER_FILE, chosen.baseline_order)
    config: dict[str, Any] = {"training": asdict(chosen), "curve": curve}
    return publish(corpus, out, Kind.LANGUAGE_MODEL, "llama", config, metrics, "pretrain_lm")


def run(task: Task, watcher: Watcher) -> None:
    """As a job; of a team, the one that leads."""
    out = task.candidate(task.steps)
    if not is_whole(out):
        watcher.progressed(0, 1, "learning an encoding")
        with team() as among:
            _train(among.told(task), among, watcher)
    offer_result(watcher, task.steps, out, manifest_of(out))


def follow() -> None:
    """As one of a job's team that does not lead; it hears from the leader what there is to do."""
    with team() as among:
        _train(among.told(None), among, Alone())


def _train(task: Task, among: Team, watcher: Watcher) -> None:
    assert task.data is not None
    corpus = corpus_of(task.data, task.training_data)
    train(corpus, task.work, task.candidate(task.steps), task.options(Options), among, watcher)


def _baseline(data: Data, tokenizer: Path, longest: int) -> dict[str, float]:
    """What the best n-gram model of the same tokens costs on the same chapters."""
    bits = kneser_ney_bits(data.train, data.held_out, Tokens(tokenizer), longest)
    best = min(bits, key=bits.__getitem__)
    return {
        "kneser_ney_bits_per_byte": round(bits[best] / sum(data.held_out_bytes), 4),
        "kneser_ney_order": float(best),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = corpus_parser(__doc__)
    options.add_argument("--work", type=Path, required=True, help="folder of checkpoints and curve")
    add_flags(options, Options())
    chosen = options.parse_args(arguments)
    try:
        corpus = read_corpus(chosen.corpus, chosen.glob, chosen.training_data)
        settings = read_flags(Options, chosen)
        with team() as among:
            manifest = train(corpus, chosen.work, chosen.out, settings, among)
    except (ValueError, OSError) as error:
        options.exit(2, f"pretrain_lm: {error}\n")
    if manifest is not None:
        finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
