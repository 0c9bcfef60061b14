"""Pictures for tests of the load harness."""

from __future__ import annotations

import io

import pytest
from PIL import Image


@pytest.fixture
def png():
    """Makes a PNG of one colour."""

    def make(size, color):
        file = io.BytesIO()
        Image.new("RGB", (size, size), color).save(file, "PNG")
        return file.getvalue()

    return make
