"""The graphs of a version of family "unet": the text tower, the network, the network that takes adapters."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from services.common.export.graph import GraphSpec
from services.diffusion.adapters.stacks import factor_shapes
from services.diffusion.networks.adapted import Adapted, linear_names
from services.diffusion.networks.unet import Config, Unet

NETWORK, ADAPTED, TEXT = "unet", "adapted", "text"
WEIGHTS_FILE, TEXT_FOLDER = "unet.safetensors", "text"
OUTPUT = "output"
_ROWS = 3


class TextTower(nn.Module):
    """A text encoder's last states."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[n, tokens] of int64, and 1 where there is a token -> states [n, tokens, width]."""
        states: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states


class WithFactors(nn.Module):
    """A network and the factors of all adapters as one input, so that a graph has few."""

    def __init__(self, adapted: Adapted, ranks: int) -> None:
        super().__init__()
        self.adapted = adapted
        self.shapes = factor_shapes([each.sizes for each in adapted.layers], ranks)
        self.sizes = [rows * columns for rows, columns in self.shapes]

    def forward(
        self, sample: Tensor, timestep: Tensor, text: Tensor, mask: Tensor, selection: Tensor, factors: Tensor
    ) -> Tensor:
        """As ``Unet``; ``selection`` [n, ranks], ``factors`` [numbers]: each layer's down, then its up."""
        parts: tuple[Tensor, ...] = torch.split(factors, self.sizes)
        pairs = [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        said: Tensor = self.adapted((sample, timestep, text, mask), selection, pairs[::2], pairs[1::2])
        return said


def network_of(config: Mapping[str, Any], folder: Path) -> Unet:
    """The network in ``folder`` with its weights. Raises ValueError where they do not fit."""
    network = Unet(Config.of(config["unet"]))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS_FILE))  # 16 bits become 32
    except RuntimeError as error:
        raise ValueError(f"{WEIGHTS_FILE} does not fit the configuration: {error}") from None
    return network.eval()


def text_tower_of(folder: Path) -> TextTower:
    """The text encoder in ``folder``."""
    library: Any = transformers  # typed only in part
    model = library.CLIPTextModel.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, attn_implementation="eager"
    )
    return TextTower(model.eval())


def graphs_of(config: Mapping[str, Any], folder: Path, ranks: int) -> dict[str, GraphSpec]:
    """All three graphs."""
    tower = text_tower_of(folder / TEXT_FOLDER)
    settings: Any = tower.model.config
    ids = torch.arange(_ROWS * settings.max_position_embeddings).reshape(_ROWS, -1) % settings.vocab_size
    mask = torch.ones_like(ids)
    mask[1:, settings.max_position_embeddings // 2 :] = 0
    text = GraphSpec(
        tower, {"ids": ids, "mask": mask}, ("text",), {name: {0: "batch"} for name in ("ids", "mask")}
    )
    network = network_of(config, folder)
    rows = _example(network.config, settings.max_position_embeddings)
    plain = GraphSpec(network, rows, (OUTPUT,), {name: {0: "batch"} for name in rows})
    return {TEXT: text, NETWORK: plain, ADAPTED: _adapted(network_of(config, folder), rows, ranks)}


def _adapted(network: Unet, rows: Mapping[str, Tensor], ranks: int) -> GraphSpec:
    module = WithFactors(Adapted(network, sorted(linear_names(network))), ranks).eval()
    chance = torch.Generator().manual_seed(1)
    inputs = {
        **rows,
        "selection": torch.rand((_ROWS, ranks), generator=chance),
        "factors": 0.05 * torch.randn(sum(module.sizes), generator=chance),
    }
    free = {name: {0: "batch"} for name in (*rows, "selection")}
    return GraphSpec(module, inputs, (OUTPUT,), free)


def _example(config: Config, tokens: int) -> dict[str, Tensor]:
    chance = torch.Generator().manual_seed(0)
    mask = torch.ones((_ROWS, tokens), dtype=torch.bool)
    mask[1:, tokens // 2 :] = False
    return {
        "sample": torch.randn((_ROWS, config.channels, config.size, config.size), generator=chance),
        "timestep": torch.tensor([1.0, 500.0, 999.0]),
        "text": torch.randn((_ROWS, tokens, config.text_width), generator=chance),
        "mask": mask,
    }
