"""What the tests of faces through the gateway have in common: tiny models in the platform's own store."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from tests.e2e.conftest import Platform
from tests.unit.gan.gan_models import publish_clip, publish_gan

GAN, PLAIN, CLIP = "tiny-gan", "plain-gan", "tiny-clip"
"""A GAN with all that may lie beside its networks, a DCGAN without, the embedder of the former."""
SIZE = 16
"""Pixels of a side."""


def publish(platform: Platform) -> None:
    """Both models and the embedder, exported, so that no later call waits for that; once a platform."""
    store = platform.folder / "var/models"
    if (store / GAN).exists():
        return
    publish_gan(store, GAN)
    publish_gan(store, PLAIN, family="dcgan", companions=False)
    publish_clip(store, CLIP)
    for name in (GAN, PLAIN, CLIP):
        done = platform.run("models", "load", name, timeout=600)
        assert done.returncode == 0, done.stderr


def pixels(data: bytes | Path) -> np.ndarray:
    content = data.read_bytes() if isinstance(data, Path) else data
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def settings_of(file: Path) -> dict:
    """What a PNG says of how it was made."""
    return json.loads(Image.open(io.BytesIO(file.read_bytes())).text["pequod"])
