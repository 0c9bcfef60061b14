"""Recipe full_lm: a language model trained on in full, from texts or conversations.

python -m services.finetune.recipes.full_lm --data FILE --base models/storyteller/1 --work DIR \\
    --out STORE/NAME/VERSION

As recipe lora_lm, but all weights change, and what is published is a directory of Transformers' format.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.finetune.recipes.choices.tune_lm import FullOptions
from services.finetune.recipes.language_tuning import recipe
from services.finetune.recipes.task import Task
from services.finetune.recipes.watching import Watcher


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    recipe.run(FullOptions, task, watcher)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    recipe.main(__doc__, "full_lm", FullOptions(), arguments)


if __name__ == "__main__":
    main()
