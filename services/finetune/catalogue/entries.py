"""The table of recipes. Adding one: its Options in a file without torch, its ``run``, a row here."""

from __future__ import annotations

from collections.abc import Mapping

from services.common.errors import invalid
from services.common.store import Kind as ModelKind
from services.finetune.catalogue.recipe import Base, Recipe
from services.finetune.datasets.dataset import Kind
from services.finetune.recipes.choices import (
    dreambooth,
    ngram,
    pretrain_clip,
    pretrain_diffusion,
    train_upscaler,
    tune_lm,
    word2vec,
)
from services.finetune.recipes.gan import options as gan
from services.finetune.recipes.language_model import options as language_model

_TEXT = frozenset({Kind.TEXT})
_IMAGES = frozenset({Kind.IMAGES})

_LANGUAGE = frozenset({Kind.TEXT, Kind.CHAT})

_ALL = (
    Recipe(
        name="dreambooth",
        summary="teaches a diffusion model one subject, from a few pictures",
        run="services.finetune.recipes.dreambooth:run",
        options=dreambooth.Options,
        reads=_IMAGES,
        base=Base(ModelKind.DIFFUSION, ("unet", "diffusers")),
        presets=dreambooth.PRESETS,
        preset=dreambooth.PERSON,
        aids={"clip": "peeps-clip"},
        offers=True,
    ),
    Recipe(
        name="lora_lm",
        summary="an adapter of a language model, from texts or conversations",
        run="services.finetune.recipes.lora_lm:run",
        options=tune_lm.LoraOptions,
        reads=_LANGUAGE,
        base=Base(ModelKind.LANGUAGE_MODEL),
        offers=True,
    ),
    Recipe(
        name="full_lm",
        summary="a language model trained on in full, from texts or conversations",
        run="services.finetune.recipes.full_lm:run",
        options=tune_lm.FullOptions,
        reads=_LANGUAGE,
        base=Base(ModelKind.LANGUAGE_MODEL),
        offers=True,
    ),
    Recipe(
        name="ngram",
        summary="counts sequences of characters",
        run="services.finetune.recipes.ngram:run",
        options=ngram.Options,
        reads=_TEXT,
        stops=False,
        accelerates=False,
    ),
    Recipe(
        name="word2vec",
        summary="vectors of words from the words around them",
        run="services.finetune.recipes.word2vec:run",
        options=word2vec.Options,
        reads=_TEXT,
        accelerates=False,
    ),
    Recipe(
        name="pretrain_lm",
        summary="a language model and its encoding, from texts alone",
        run="services.finetune.recipes.pretrain_lm:run",
        options=language_model.Options,
        reads=_TEXT,
        accelerates=False,
        follow="services.finetune.recipes.pretrain_lm:follow",
    ),
    Recipe(
        name="pretrain_clip",
        summary="texts and pictures of avatars in one space",
        run="services.finetune.recipes.pretrain_clip:run",
        options=pretrain_clip.Options,
        reads=_IMAGES,
    ),
    Recipe(
        name="pretrain_diffusion",
        summary="avatars from noise, told by text",
        run="services.finetune.recipes.pretrain_diffusion:run",
        options=pretrain_diffusion.Options,
        reads=_IMAGES,
        aids={"text": "peeps-clip"},
    ),
    Recipe(
        name="train_upscaler",
        summary="doubles the pixels of avatars",
        run="services.finetune.recipes.train_upscaler:run",
        options=train_upscaler.Options,
        reads=_IMAGES,
    ),
    Recipe(
        name="train_gan",
        summary="avatars from a latent vector and attributes, in one pass",
        run="services.finetune.recipes.train_gan:run",
        options=gan.Options,
        reads=_IMAGES,
        presets=gan.PRESETS,
        aids={"clip": "peeps-clip", "judge": "peeps-judge"},
    ),
)

RECIPES: Mapping[str, Recipe] = {each.name: each for each in _ALL}


def recipe(name: str) -> Recipe:
    """Raises INVALID_ARGUMENT listing the known ones."""
    if name not in RECIPES:
        what = f"no recipe {name[:80]!r}" if name else "required; it is empty"
        raise invalid("spec.recipe", f"{what}; recipes are {', '.join(RECIPES)}")
    return RECIPES[name]
