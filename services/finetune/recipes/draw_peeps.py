"""Recipe draw_peeps: captioned avatars, as many as wanted, the same for the same seed.

python -m services.finetune.recipes.draw_peeps --count 76000 --size 64 --work var/node --out var/peeps

Needs Node.js and the npm registry. Seed 0 gives the avatars that are held out: others never repeat them.
The shipped models learnt from 76 000 at 64 pixels, seed 1; the upscaler from 5000 at 128 pixels, seed 2.
Those of the repository were drawn with --count 500 --seed 0 --size 128 --pack; the persons of
tests/bench/finetune/persons with --count 5 --views 15 --seed 3 --size 64 --pack.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from services.finetune.recipes.peeps.dataset import DRAWN, Peeps, avatars, make, pack
from services.finetune.recipes.peeps.drawing import install
from services.finetune.recipes.peeps.uploaded import write
from services.finetune.recipes.peeps.views import persons


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--count", type=int, required=True, help="how many avatars")
    options.add_argument("--seed", type=int, default=1, help="which ones (%(default)s)")
    options.add_argument("--size", type=int, default=64, choices=(16, 32, 64, DRAWN), help="pixels of a side")
    options.add_argument("--work", type=Path, required=True, help="folder for Node packages")
    options.add_argument("--out", type=Path, required=True, help="folder of the avatars")
    options.add_argument("--pack", action="store_true", help="leave one lossless picture, to be shipped")
    options.add_argument("--pictures", type=Path, help="another folder: as a data set for jobs")
    options.add_argument("--views", type=int, default=0, help="draw so many views of each person")
    chosen = options.parse_args(arguments)
    if chosen.count < 1:
        options.error("--count begins at 1")
    try:
        drawn = (
            persons(chosen.count, chosen.views, chosen.seed)
            if chosen.views
            else avatars(chosen.count, chosen.seed)
        )
        make(list(drawn), chosen.size, install(chosen.work), chosen.out)
        if chosen.pictures:
            write(Peeps(chosen.out), chosen.pictures)
        if chosen.pack:
            pack(chosen.out)
    except (ValueError, OSError) as error:
        options.exit(2, f"draw_peeps: {error}\n")


if __name__ == "__main__":
    main()
