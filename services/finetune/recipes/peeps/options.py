"""The options that every recipe which learns from avatars has."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from services.finetune.recipes.options import add_flags
from services.finetune.recipes.peeps.dataset import HELD_OUT_FOLDER

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def avatars_parser(description: str | None, defaults: DataclassInstance) -> argparse.ArgumentParser:
    """Folders, alias, and a flag for each field of ``defaults``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="avatars to learn from")
    parser.add_argument("--held-out", type=Path, default=HELD_OUT_FOLDER, help="avatars to measure on")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoints, curve and previews")
    parser.add_argument("--out", type=Path, required=True, help="folder of the new version")
    parser.add_argument("--alias", default="", help="an alias to point at the new version")
    add_flags(parser, defaults)
    return parser
