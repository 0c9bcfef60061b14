"""Tiny pipelines of every architecture with random weights, saved as diffusers saves them."""

from __future__ import annotations

import string
from pathlib import Path

import diffusers
import torch
import transformers

from services.diffusion.engine import Prompts
from services.diffusion.painting.guidance import Guidance
from services.diffusion.painting.noise import START, torch_noise
from services.diffusion.painting.painting import Painting, advance
from services.diffusion.pipelines.opening import open_pipeline
from services.diffusion.pipelines.placement import Placement
from services.diffusion.schedulers.registry import SCHEDULERS

torch.set_num_threads(1)
STABLE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
PROMPT = "a smiling person with red hair"
NEGATIVE = "a hat"


def clip_tokenizer():
    letters = list(string.ascii_lowercase + string.digits)
    words = [
        "<|startoftext|>",
        "<|endoftext|>",
        *letters,
        *(f"{each}</w>" for each in letters),
        "re",
        "red</w>",
    ]
    vocab = {word: number for number, word in enumerate(words)}
    merges = [("r", "e"), ("re", "d</w>")]
    return transformers.CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def t5_tokenizer():
    words = ["<pad>", "</s>", "<unk>", "▁", *string.ascii_lowercase]
    vocab = [(word, 0.0 if number < 3 else -2.0) for number, word in enumerate(words)]
    return transformers.T5TokenizerFast(vocab=vocab, extra_ids=0, model_max_length=512)


def clip_text(seed, kind="CLIPTextModel", **config):
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3}
    ids = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1, "vocab_size": 80}
    made = transformers.CLIPTextConfig(**sizes | ids | {"projection_dim": 16} | config)
    return getattr(transformers, kind)(made).eval()


def vae(**config):
    torch.manual_seed(3)
    blocks = {"block_out_channels": (8, 16), "norm_num_groups": 4, "latent_channels": 4}
    types = {"down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2}
    return diffusers.AutoencoderKL(**blocks | types | config).eval()


def unet(**config):
    torch.manual_seed(4)
    blocks = {"block_out_channels": (8, 16), "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 8}
    types = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    heads = {"attention_head_dim": 4, "cross_attention_dim": 16}
    return diffusers.UNet2DConditionModel(**blocks | types | heads | config).eval()


def stable(scheduler=None, **config):
    return diffusers.StableDiffusionPipeline(
        vae=vae(),
        text_encoder=clip_text(1),
        tokenizer=clip_tokenizer(),
        unet=unet(**config),
        scheduler=scheduler or diffusers.PNDMScheduler(**STABLE, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def stable_2():
    config = STABLE | {"prediction_type": "v_prediction", "set_alpha_to_one": False, "clip_sample": False}
    pipeline = stable(
        diffusers.DDIMScheduler(**config), use_linear_projection=True, attention_head_dim=(2, 4)
    )
    pipeline.text_encoder = clip_text(5, hidden_act="gelu")
    return pipeline


def xl(zeros=True):
    own = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    sizes = {"projection_class_embeddings_input_dim": 6 * 8 + 24, "cross_attention_dim": 16 + 24}
    return diffusers.StableDiffusionXLPipeline(
        vae=vae(scaling_factor=0.13025),
        text_encoder=clip_text(1),
        text_encoder_2=clip_text(
            *(2, "CLIPTextModelWithProjection"), hidden_size=24, hidden_act="gelu", projection_dim=24
        ),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(),
        unet=unet(use_linear_projection=True, transformer_layers_per_block=(1, 2), **own | sizes),
        scheduler=diffusers.EulerDiscreteScheduler(**STABLE, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=zeros,
        add_watermarker=False,
    )


def flux(guided=True):
    torch.manual_seed(6)
    t5 = transformers.T5Config(
        vocab_size=64, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, feed_forward_proj="gated-gelu"
    )
    sizes = {"in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16}
    widths = {"num_attention_heads": 2, "joint_attention_dim": 24, "pooled_projection_dim": 16}
    shifts = {"use_dynamic_shifting": True, "shift": 3.0} if guided else {"shift": 1.0}
    return diffusers.FluxPipeline(
        vae=vae(scaling_factor=0.36, shift_factor=0.11, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=clip_text(1),
        text_encoder_2=transformers.T5EncoderModel(t5).eval(),
        tokenizer=clip_tokenizer(),
        tokenizer_2=t5_tokenizer(),
        transformer=diffusers.FluxTransformer2DModel(
            **sizes | widths, axes_dims_rope=(4, 6, 6), guidance_embeds=guided
        ).eval(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(**shifts),
    )


def saved(pipeline, folder: Path, **more) -> Path:
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder, safe_serialization=True, **more)
    return folder


def opened(folder: Path, **more):
    return open_pipeline(folder, Placement(device="cpu", **{"rows": 4, "ranks": 16} | more), "tiny")


def begun(model, prompts, seed, steps, scheduler, guidance=5.0, size=None, adapters=(), read=()):
    """An image on its way as a request with ``rng=torch`` would be.

    ``adapters``: (place, scale) in the network; ``read``: (adapter, scale) that text encoders are to see.
    """
    traits = model.traits
    width, height = size or (16, 16)
    levels = model.levels.sized(traits.tokens(width, height))
    chosen = SCHEDULERS[scheduler]
    path = chosen.path(levels, steps)
    noise = torch_noise(seed, (traits.channels, height // traits.factor, width // traits.factor))
    walk = chosen.walk(levels, path, noise(START) * path.start, noise)
    reading = model.read(prompts, width, height, guidance, read)
    steering = Guidance(guidance if traits.negative else 1.0)
    return Painting(walk, levels, steps, reading.told, reading.untold, steering, adapters)


def finished(model, *paintings):
    """Their latents, all of them advanced together."""
    while left := [each for each in paintings if not each.is_finished]:
        advance(left, model.denoiser)
    return [each.result for each in paintings]


def painted(model, *asked, **more):
    (latents,) = finished(model, begun(model, *asked, **more))
    return latents


__all__ = ["Prompts"]
