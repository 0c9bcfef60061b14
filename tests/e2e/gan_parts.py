"""What the tests of faces through the gateway have in common: tiny models in the platform's own store."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.conftest import Platform
from tests.unit.gan.gan_models import home_of

GAN, PLAIN, CLIP = "tiny-gan", "plain", "tiny-clip"
"""A GAN with all that may lie beside its networks, a DCGAN without, the embedder of the former."""
SIZE = 16
"""Pixels of a side."""


def publish(platform: Platform, factory: pytest.TempPathFactory) -> None:
    """Both models and the embedder, with what serving them needs, so that no later call waits for that.

    Once a platform.
    """
    store, home = platform.folder / "var/models", home_of(factory)
    if (store / GAN).exists():
        return
    for name in (GAN, PLAIN, CLIP):
        shutil.copytree(home / "user" / name, store / name)
    shutil.copytree(home / "cache/exports", platform.folder / "var/cache/exports", dirs_exist_ok=True)
    for name in (GAN, PLAIN, CLIP):
        done = platform.run("models", "load", name, timeout=600)
        assert done.returncode == 0, done.stderr


def pixels(data: bytes | Path) -> np.ndarray:
    content = data.read_bytes() if isinstance(data, Path) else data
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def settings_of(file: Path) -> dict:
    """What a PNG says of how it was made."""
    return json.loads(Image.open(io.BytesIO(file.read_bytes())).text["pequod"])
