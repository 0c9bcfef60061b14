"""A tiny diffusion model of family "unet" with random weights, and pictures to teach it."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from services.common.store import Kind
from services.diffusion.networks.unet import Config, Unet
from services.finetune.recipes.average import halves
from services.finetune.recipes.diffusion.noising import cosine_levels
from services.finetune.recipes.version import Corpus, publish

MODELS = Path(__file__).parents[3] / "models"
CONFIG = Config(size=16, widths=(32, 32), blocks=1, attends=(False, True))


def tiny_unet(folder: Path) -> Path:
    """The version ``folder`` with the text tower of the shipped model."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    network = Unet(CONFIG)
    for weight in network.parameters():  # those that begin at 0 say nothing
        if not weight.any():
            torch.nn.init.normal_(weight, std=0.05)
    save_file(halves(network), folder / "unet.safetensors")
    (folder / "scheduler_config.json").write_text(json.dumps(cosine_levels()))
    shutil.copytree(MODELS / "peeps-diffusion/1/text", folder / "text")
    config = {"unet": json.loads(json.dumps(asdict(CONFIG))), "defaults": {"guidance_scale": 2.0}}
    publish(Corpus(()), folder, Kind.DIFFUSION, "unet", config, {})
    return folder


def drawn(folder: Path, count: int, first: int = 0) -> Path:
    """A folder of pictures of one thing: a light square on a dark ground, at sizes that fit no model."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        pixels = np.full((40 + number, 50, 3), 40 + 5 * number, np.uint8)
        pixels[10:30, 15:35] = (250, 200 - 10 * number, 20)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return folder
