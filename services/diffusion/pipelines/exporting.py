"""The networks of pipelines as graphs for other runtimes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn
from torch.nn import functional

from services.common.export.graph import GraphSpec
from services.diffusion.pipelines.directory import Architecture, Directory, read_directory
from services.diffusion.pipelines.flux import ask_transformer
from services.diffusion.pipelines.opening import FLUX_PLACES, FLUX_TOKENS, load_network, quiet, sample_size
from services.diffusion.pipelines.stable_diffusion import ask_unet

_CLIP_TOKENS = 77
_ROWS = 2
_TIMES = (999.0, 500.5)


def graphs(path: Path, places: tuple[int, int] | None = None) -> Mapping[str, GraphSpec]:
    """The network of the pipeline in a directory, by its component's name ("unet" or "transformer").

    Rows are free in number; the picture's size is the one trained on, or ``places`` (height and width of its
    latents). Raises as ``open_pipeline`` does.
    """
    directory = read_directory(path)
    with quiet():
        network = load_network(directory, torch.float32)
    is_flux = directory.architecture is Architecture.FLUX
    side = (FLUX_PLACES, FLUX_PLACES) if is_flux else sample_size(network)
    channels = int(directory.config("vae")["latent_channels"])
    chance = torch.Generator().manual_seed(0)
    shapes = _flux_shapes(network) if is_flux else _unet_shapes(directory, network)
    inputs = {name: torch.randn(_ROWS, *shape, generator=chance) for name, shape in shapes.items()}
    if "guidance" in inputs:
        inputs["guidance"] = torch.tensor([3.5, 2.0])
    inputs = {
        "sample": torch.randn(_ROWS, channels, *(places or side), generator=chance),
        "timestep": torch.tensor(_TIMES),
        **inputs,
    }
    module = TransformerGraph(network) if is_flux else UnetGraph(network)
    free = {name: {0: "batch"} for name in inputs}
    return {directory.network: GraphSpec(module, inputs, ("prediction",), free)}


def _unet_shapes(directory: Directory, unet: Any) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "encoder_hidden_states": (_CLIP_TOKENS, int(unet.config.cross_attention_dim))
    }
    if directory.architecture is Architecture.SDXL:
        shapes |= {
            "text_embeds": (int(directory.config("text_encoder_2")["projection_dim"]),),
            "time_ids": (6,),
        }
    return shapes


def _flux_shapes(transformer: Any) -> dict[str, tuple[int, ...]]:
    config = transformer.config
    shapes: dict[str, tuple[int, ...]] = {
        "encoder_hidden_states": (FLUX_TOKENS[config.guidance_embeds], int(config.joint_attention_dim)),
        "pooled_projections": (int(config.pooled_projection_dim),),
    }
    return shapes | ({"guidance": ()} if config.guidance_embeds else {})


class UnetGraph(nn.Module):
    """A UNet with its inputs by name."""

    def __init__(self, unet: nn.Module) -> None:
        """Changes ``unet``: it branches on the number of rows otherwise."""
        super().__init__()
        for name, module in list(unet.named_modules()):
            if isinstance(module, Upsample2D):
                parent, _, last = name.rpartition(".")
                setattr(unet.get_submodule(parent), last, Enlarging(module))
        self.unet = unet

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        text_embeds: Tensor | None = None,
        time_ids: Tensor | None = None,
    ) -> Tensor:
        """[n, channels, height, width], [n], [n, 77, width]; for SDXL [n, width] and [n, 6]."""
        inputs = {"encoder_hidden_states": encoder_hidden_states}
        if text_embeds is not None and time_ids is not None:
            inputs |= {"text_embeds": text_embeds, "time_ids": time_ids}
        return ask_unet(self.unet, sample, timestep, inputs)


class Enlarging(nn.Module):
    """Upsample2D without its precautions for 64 rows and more, which no exporter can follow."""

    def __init__(self, original: Upsample2D) -> None:
        super().__init__()
        self.conv: nn.Module = original.conv or nn.Identity()

    def forward(self, x: Tensor, output_size: tuple[int, int] | None = None) -> Tensor:
        """[n, channels, height, width] -> [n, channels, 2 * height, 2 * width]."""
        if output_size is None:
            x = functional.interpolate(x, scale_factor=2.0, mode="nearest")
        else:
            x = functional.interpolate(x, size=output_size, mode="nearest")
        enlarged: Tensor = self.conv(x)
        return enlarged


class TransformerGraph(nn.Module):
    """Flux's transformer with its inputs by name; patches are made inside."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        sample: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        pooled_projections: Tensor,
        guidance: Tensor | None = None,
    ) -> Tensor:
        """[n, channels, height, width], [n], [n, tokens, width], [n, width], [n]."""
        inputs = {"encoder_hidden_states": encoder_hidden_states, "pooled_projections": pooled_projections}
        if guidance is not None:
            inputs |= {"guidance": guidance}
        return ask_transformer(self.transformer, sample, timestep, inputs)
