"""Tiny GANs, exported once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.gan.gan_models import publish_clip, publish_gan


@pytest.fixture(scope="session")
def gan_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home for ``gan_service``: peeps-gan with all companions, plain (a DCGAN) and bare without any."""
    home = tmp_path_factory.mktemp("gan")
    publish_gan(home / "user")
    publish_gan(home / "user", "plain", family="dcgan", companions=False)
    publish_gan(home / "user", "bare", companions=False, seed=1, scores=False)
    publish_clip(home / "user")
    return home
