"""What the tests of images through the gateway have in common: replies sorted, pictures, adapters."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from pequod.common.v1 import Image as Picture
from pequod.diffusion import v1
from services.common.store import Kind, Manifest, describe_files
from services.common.store.disk import DiskLayer

LAYER, INPUTS, OUTPUTS = "down.0.words.v", 160, 64
"""A linear layer of peeps-diffusion."""


@dataclass
class Told:
    """The events of one request."""

    queued: list[v1.Queued] = field(default_factory=list)
    steps: list[v1.Step] = field(default_factory=list)
    images: list[v1.GeneratedImage] = field(default_factory=list)
    done: list[v1.Done] = field(default_factory=list)
    last: v1.GenerateResponse | None = None

    @property
    def data(self) -> list[bytes]:
        return [each.image.data for each in self.images]


def told(replies: Iterable[v1.GenerateResponse]) -> Told:
    """Everything that comes, in its kinds; they come in the documented order."""
    found = Told()
    kinds = []
    for reply in replies:
        kind = reply.WhichOneof("event")
        kinds.append(kind)
        kept = {"queued": found.queued, "step": found.steps, "image": found.images, "done": found.done}
        kept[kind].append(getattr(reply, kind))
        found.last = reply
    assert kinds[0] == "queued"
    assert kinds[-1] == "done"
    return found


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def settings_of(data: bytes) -> dict:
    """What a PNG says of how it was made."""
    return json.loads(Image.open(io.BytesIO(data)).text["pequod"])


def drawn(width: int = 32, height: int = 32, kind: str = "PNG", mode: str = "RGB", **options) -> bytes:
    """A file with a gradient."""
    rows = np.linspace(0, 255, height)[:, None, None] * np.ones((1, width, 3))
    file = io.BytesIO()
    Image.fromarray(rows.astype(np.uint8)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def picture(data: bytes) -> Picture:
    return Picture(data=data)


def half_mask(width: int = 32, height: int = 32) -> bytes:
    """White on the left."""
    values = np.zeros((height, width), np.uint8)
    values[:, : width // 2] = 255
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


def publish_adapter(folder: Path, name: str, layer: str = LAYER, inputs: int = INPUTS, seed: int = 0) -> None:
    """An adapter with random factors, into the store of a platform that runs in ``folder``."""
    made = folder / "made" / name
    made.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    factors = {
        f"{layer}.lora_A.weight": generator.standard_normal((4, inputs)).astype(np.float32),
        f"{layer}.lora_B.weight": generator.standard_normal((OUTPUTS, 4)).astype(np.float32),
    }
    save_file(factors, made / "adapter_model.safetensors")
    (made / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    manifest = Manifest(name=name, version="1", kind=Kind.ADAPTER, family="lora", files=describe_files(made))
    DiskLayer(folder / "var/models", "user", writable=True).publish(made, manifest)
