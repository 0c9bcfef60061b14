"""The diffusion service on the shipped models, in this process; adapters with random factors for it."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from pequod.common.v1 import Image as ImageMessage
from pequod.diffusion import v1
from services.common.metrics import Metrics
from services.common.store.settings import StoreSettings
from services.diffusion.__main__ import DiffusionProcess
from services.diffusion.adapters.stacks import layers_of
from services.diffusion.settings import DiffusionSettings
from tests.unit.serving import serving

MODELS = Path(__file__).parents[3] / "models"
WEIGHTS = MODELS / "peeps-diffusion/1/unet.safetensors"


@asynccontextmanager
async def diffusion_service(
    home: Path, **settings: object
) -> AsyncIterator[tuple[v1.DiffusionServiceStub, Metrics]]:
    """A stub on a running service, and its metrics. ``home``: where adapters may lie."""
    metrics = Metrics("diffusion")
    stores = StoreSettings(
        shipped=MODELS, user=str(home / "user"), cache=home / "cache", load_wait=300, file_roots=(home,)
    )
    chosen = DiffusionSettings(**settings)
    async with serving(DiffusionProcess(chosen, stores, metrics, 1), metrics) as channel:
        yield v1.DiffusionServiceStub(channel), metrics


def write_adapter(folder: Path, seed: int, rank: int = 4, only: str = "words", wrong: str = "") -> str:
    """Random factors for layers whose names hold ``only``; returns the reference."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    sizes, _ = layers_of(WEIGHTS)
    tensors = {}
    for layer, (inputs, outputs) in sizes.items():
        if only in layer:
            name = f"base_model.model.{wrong}{layer}"
            tensors[f"{name}.lora_A.weight"] = chance.standard_normal((rank, inputs)).astype(np.float32) / 8
            tensors[f"{name}.lora_B.weight"] = chance.standard_normal((outputs, rank)).astype(np.float32) / 8
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return f"file:{folder}"


async def generate(stub: v1.DiffusionServiceStub, **fields: object) -> list[v1.GenerateResponse]:
    """All events of a request."""
    defaults: dict[str, object] = {"prompt": "a smiling person with red hair", "seed": 5, "steps": 2}
    return [event async for event in stub.Generate(v1.GenerateRequest(**defaults | fields))]


def images_of(events: list[v1.GenerateResponse]) -> list[v1.GeneratedImage]:
    """The finished images."""
    return [each.image for each in events if each.WhichOneof("event") == "image"]


def pixels_of(message: ImageMessage) -> np.ndarray:
    """[height, width, 3] of a file."""
    return np.asarray(Image.open(io.BytesIO(message.data)).convert("RGB"))


def png(pixels: np.ndarray) -> ImageMessage:
    """A file of [height, width(, 3)]."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return ImageMessage(data=file.getvalue())
