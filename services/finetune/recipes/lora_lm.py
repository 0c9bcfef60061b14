"""Recipe lora_lm: an adapter of a language model (Hu et al., "LoRA", 2021), from texts or conversations.

python -m services.finetune.recipes.lora_lm --data FILE --base models/storyteller/1 --work DIR \\
    --out STORE/NAME/VERSION

The base is any causal language model in a directory of Transformers' format. Of conversations (lines of JSON
with "messages", rendered by the model's own chat template) only the assistant's turns are learnt. Every
--checkpoint-every steps leave a candidate with scores and previews; the best is published, as PEFT writes it.
The same command goes on where it was stopped; with --pick STEP it publishes another candidate.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.finetune.recipes.choices.tune_lm import LoraOptions
from services.finetune.recipes.language_tuning import recipe
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Watcher


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    recipe.run(LoraOptions, task, watcher)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    recipe.main(__doc__, "lora_lm", LoraOptions(), arguments)


if __name__ == "__main__":
    main()
