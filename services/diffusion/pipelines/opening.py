"""Opens directories of diffusers' format: components through diffusers and Transformers, from safetensors."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from services.common.cuda_graphs import recorder
from services.common.errors import unsupported
from services.diffusion.engine import Model, Prompts, Question, Traits
from services.diffusion.pipelines.defaults import defaults_of, levels_of
from services.diffusion.pipelines.directory import Architecture, Directory, read_directory
from services.diffusion.pipelines.flux import PATCH, FluxReader, ask_transformer
from services.diffusion.pipelines.parts.adapting import Loras
from services.diffusion.pipelines.parts.denoiser import TorchDenoiser
from services.diffusion.pipelines.parts.pictures import Pictures
from services.diffusion.pipelines.parts.placing import Place, fitting, place_for, place_network
from services.diffusion.pipelines.parts.replayed import Network
from services.diffusion.pipelines.parts.texts import Encoder, Tokenizer
from services.diffusion.pipelines.pipeline import Pipeline, Reader
from services.diffusion.pipelines.placement import Placement
from services.diffusion.pipelines.stable_diffusion import ClipReader, TwoClipReader, ask_unet
from services.diffusion.schedulers.levels import Levels

FLUX_PLACES = 128
"""A side of the latents trained on, which no config says."""
FLUX_TOKENS = {True: 512, False: 256}
"""T5's of Flux dev and schnell."""
_LARGEST = 2048


@dataclass(frozen=True, eq=False)
class Parts:
    """What a pipeline is put together from."""

    network: Any
    asks: Network
    """Asks ``network``."""
    reader: Reader
    pictures: Pictures
    traits: Traits
    levels: Levels


def open_pipeline(path: Path, placement: Placement, name: str) -> Model:
    """A pipeline ready to be asked, its rows measured. ``name`` is what errors call it.

    Raises ServiceError, or ValueError and OSError for files that are not what they should be.
    """
    directory = read_directory(path)
    place = place_for(placement, directory.architecture)
    with fitting():
        return _open(directory, placement, place, name)


def open_parts(directory: Directory, place: Place) -> Parts:
    """The components of a pipeline; the network is still on the CPU."""
    with quiet():
        network = load_network(directory, place.dtype)
        pictures = Pictures(_diffusers("AutoencoderKL", directory, "vae", place.dtype), place)
        reader = _reader(directory, place, network)
    asks = partial(ask_transformer if directory.network == "transformer" else ask_unet, network)
    traits = _traits(directory, network, pictures.factor)
    levels = levels_of(directory.architecture, directory.config("scheduler"))
    return Parts(network, asks, reader, pictures, traits, levels)


def _open(directory: Directory, placement: Placement, place: Place, name: str) -> Pipeline:
    parts = open_parts(directory, place)
    network, reader = parts.network, parts.reader
    loras = Loras(name, network, placement.ranks, place, reader.sizes) if placement.ranks else None
    place_network(network, place)
    is_still = place.device.type == "cuda" and not place.streams
    denoiser = TorchDenoiser(parts.asks, place, loras, recorder(place.device) if is_still else None)
    pipeline = Pipeline(name, parts.traits, parts.levels, denoiser, loras, reader, parts.pictures)
    on_cpu = place.device.type == "cpu"
    is_exact = on_cpu if placement.exact is None else placement.exact
    denoiser.measure(_example(pipeline), placement.seconds, placement.rows, is_exact)
    return pipeline


def load_network(directory: Directory, dtype: torch.dtype) -> Any:
    """The UNet or transformer, on the CPU."""
    kind = "FluxTransformer2DModel" if directory.network == "transformer" else "UNet2DConditionModel"
    network = _diffusers(kind, directory, directory.network, dtype).eval().requires_grad_(False)
    channels = int(network.config.in_channels) // (PATCH**2 if directory.network == "transformer" else 1)
    latent = int(directory.config("vae")["latent_channels"])
    if channels != latent:
        raise unsupported(
            f"the {directory.network} takes {channels} channels, its VAE makes {latent}: networks made for "
            "inpainting or editing are not served"
        )
    is_xl = directory.architecture is Architecture.SDXL
    expected = {"addition_embed_type": "text_time" if is_xl else None}
    for field in ("addition_embed_type", "class_embed_type", "encoder_hid_dim_type", "time_cond_proj_dim"):
        if network.config.get(field) != expected.get(field):
            raise unsupported(
                f"the {directory.network}'s {field} {network.config.get(field)!r} is not served"
            )
    return network


def sample_size(unet: Any) -> tuple[int, int]:
    """Height and width of the latents trained on."""
    size = unet.config.sample_size
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def _reader(directory: Directory, place: Place, network: Any) -> Reader:
    if directory.architecture is Architecture.STABLE_DIFFUSION:
        return ClipReader(_encoder("CLIPTextModel", directory, "", place))
    first = partial(_encoder, "CLIPTextModel", directory, "", place)
    if directory.architecture is Architecture.SDXL:
        second = _encoder("CLIPTextModelWithProjection", directory, "_2", place)
        zeros = bool(directory.index.get("force_zeros_for_empty_prompt", True))
        return TwoClipReader(first(), second, zeros)
    guided = bool(network.config.guidance_embeds)
    return FluxReader(
        first(), _encoder("T5EncoderModel", directory, "_2", place, FLUX_TOKENS[guided]), guided
    )


def _encoder(kind: str, directory: Directory, number: str, place: Place, room: int | None = None) -> Encoder:
    """Text encoder ``text_encoder<number>`` with its tokenizer."""
    import transformers

    component = f"text_encoder{number}"
    model = getattr(transformers, kind).from_pretrained(
        directory.path,
        subfolder=component,
        dtype=place.dtype,
        variant=directory.variants[component],
        use_safetensors=True,
        local_files_only=True,
    )
    reads = "T5TokenizerFast" if kind.startswith("T5") else "CLIPTokenizer"
    tokenizer = getattr(transformers, reads).from_pretrained(
        directory.path, subfolder=f"tokenizer{number}", local_files_only=True
    )
    return Encoder(model, Tokenizer(tokenizer, room), place)


def _diffusers(kind: str, directory: Directory, component: str, dtype: torch.dtype) -> Any:
    import diffusers

    return getattr(diffusers, kind).from_pretrained(
        directory.path,
        subfolder=component,
        torch_dtype=dtype,
        variant=directory.variants[component],
        use_safetensors=True,
        local_files_only=True,
    )


def _traits(directory: Directory, network: Any, factor: int) -> Traits:
    is_flux = directory.architecture is Architecture.FLUX
    guided = bool(network.config.get("guidance_embeds"))
    usual = defaults_of(directory.architecture, directory.config("scheduler"), guided)
    height, width = (FLUX_PLACES, FLUX_PLACES) if is_flux else sample_size(network)
    return Traits(
        channels=int(directory.config("vae")["latent_channels"]),
        factor=factor,
        width=factor * width,
        height=factor * height,
        multiple=factor * PATCH if is_flux else factor,
        largest=max(_LARGEST, factor * width, factor * height),
        scheduler=usual.scheduler,
        steps=usual.steps,
        guidance=usual.guidance,
        schedulers=usual.schedulers,
        negative=not is_flux,
        second_prompt=directory.architecture is not Architecture.STABLE_DIFFUSION,
        patch=PATCH if is_flux else 1,
    )


def _example(pipeline: Pipeline) -> Question:
    """A question of the size trained on."""
    traits = pipeline.traits
    text = pipeline.read(Prompts(""), traits.width, traits.height, traits.guidance).told
    shape = (traits.channels, traits.height // traits.factor, traits.width // traits.factor)
    noise = np.random.default_rng(0).standard_normal(shape, np.float32)
    return Question(noise, pipeline.levels.count / 2, text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """The libraries draw progress bars, and warn of weights that are left out on purpose."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging

    for each in (diffusers_logging, logging):
        each.disable_progress_bar()
        each.set_verbosity_error()
    yield
