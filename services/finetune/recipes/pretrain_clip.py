"""Recipe pretrain_clip: a text tower and an image tower whose vectors agree (Radford et al., 2021).

python -m services.finetune.recipes.pretrain_clip --data var/peeps --work DIR --out STORE/NAME/VERSION

The folders of avatars come from recipe draw_peeps. The result is a Hugging Face directory of a CLIPModel. The
same command goes on where it was stopped. With ``--images VERSION`` only a new text tower is learnt, towards
that version's image tower (locked-image tuning; Zhai et al., 2022): pictures keep their vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from services.common.store import Kind, Manifest
from services.finetune.recipes.choices.pretrain_clip import Options
from services.finetune.recipes.descent import descend
from services.finetune.recipes.device import Device
from services.finetune.recipes.options import lasting, read_flags
from services.finetune.recipes.peeps import words
from services.finetune.recipes.peeps.captioned import Batch, Captioned
from services.finetune.recipes.peeps.captions import full_caption
from services.finetune.recipes.peeps.dataset import TRAINING_DATA, Peeps
from services.finetune.recipes.peeps.drawing import shrink
from services.finetune.recipes.peeps.options import avatars_parser
from services.finetune.recipes.peeps.pictures import pictures
from services.finetune.recipes.peeps.uploaded import Sets
from services.finetune.recipes.resumable import Pace, Resumable, Stateful, cosine
from services.finetune.recipes.task import Task, is_whole, offer_result
from services.finetune.recipes.version import Corpus, begin, finish, manifest_of, publish, reference_of
from services.finetune.recipes.watching import Watcher

TOKENIZER_FILE = "tokenizer.json"


def train(
    data: Peeps,
    held_out: Peeps,
    work: Path,
    out: Path,
    options: Options,
    watcher: Watcher | None = None,
) -> Manifest:
    """Train into the new version ``out``.

    Raises ValueError for a work folder of other options, or no version to take the image tower of.
    """
    begin(out)
    parent = reference_of(Path(options.images)) if options.images else ""
    device = Device(options.device, options.threads)
    work.mkdir(parents=True, exist_ok=True)
    file = work / TOKENIZER_FILE
    if not file.exists():
        words.learn(options.vocabulary, options.length, options.seed, file)
    pairs = _Pairs(data, held_out, Tokenizer.from_file(str(file)), options, device)
    torch.manual_seed(options.seed)
    model = model_of(options, pairs.tokenizer).to(device.torch)
    if options.images:
        lock_images(model, Path(options.images))
    optimiser = torch.optim.AdamW(
        _groups(model, options.decay), lr=options.rate, betas=(0.9, 0.98), fused=device.is_gpu
    )
    parts: dict[str, Stateful] = {"model": model, "optimiser": optimiser}
    course = Resumable(work, parts, lasting(options), options.seed, watcher=watcher)
    course.resume()

    def learn(step: int, chance: np.random.Generator) -> Tensor:
        batch = pairs.batch(chance)
        with device.products():
            error = contrast(model, batch)
        rate = options.rate * cosine(step, options.steps, options.warm_up)
        loss = descend(optimiser, rate, error)
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100.0))
        return loss

    course.run(Pace(options.steps, 200), learn, lambda _: pairs.found(model))
    return _publish(model, file, out, replace(options, images=parent), course)


class _Pairs:
    """Pictures with their captions."""

    def __init__(
        self, data: Peeps, held_out: Peeps, tokenizer: Tokenizer, options: Options, device: Device
    ) -> None:
        self.tokenizer = tokenizer
        self._data = Captioned(data, options.size, tokenizer, device.torch, options.seed)
        self._count = options.batch
        captions = [full_caption(avatar) for avatar in held_out.avatars]
        ids, mask = (torch.from_numpy(each).to(device.torch) for each in words.encode(tokenizer, captions))
        pixels = pictures(shrink(held_out.images, options.size)).to(device.torch)
        self._held_out = Batch(pixels, ids, mask.bool())

    def batch(self, chance: np.random.Generator) -> Batch:
        """Half of the pictures are as coarse as a diffusion model's."""
        batch = self._data.draw(self._count, chance)
        pixels = batch.pictures
        coarse = torch.from_numpy(chance.random(self._count) < 0.5).to(pixels.device)
        blurred = functional.interpolate(functional.avg_pool2d(pixels, 2), scale_factor=2.0, mode="bilinear")
        return replace(batch, pictures=torch.where(coarse[:, None, None, None], blurred, pixels))

    @torch.no_grad()
    def found(self, model: Any) -> dict[str, float]:
        """How often a held-out picture's own full caption is the nearest of all, and the other way round."""
        model.eval()
        images, texts = embed(model, self._held_out)
        model.train()
        nearest = images @ texts.T
        right = torch.arange(len(nearest), device=nearest.device)
        return {
            "held_out_caption_found": (nearest.argmax(1) == right).float().mean().item(),
            "held_out_picture_found": (nearest.argmax(0) == right).float().mean().item(),
        }


def embed(model: Any, batch: Batch) -> tuple[Tensor, Tensor]:
    """Unit vectors [n, dimensions] of pictures and of texts."""
    seen = model.vision_model(pixel_values=batch.pictures).pooler_output
    read = model.text_model(input_ids=batch.ids, attention_mask=batch.mask.long()).pooler_output
    images, texts = model.visual_projection(seen).float(), model.text_projection(read).float()
    return functional.normalize(images, dim=1), functional.normalize(texts, dim=1)


def contrast(model: Any, batch: Batch) -> Tensor:
    """Cross-entropy of who belongs to whom, both ways."""
    images, texts = embed(model, batch)
    logits = model.logit_scale.exp() * images @ texts.T
    right = torch.arange(len(logits), device=logits.device)
    return (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2


def model_of(options: Options, tokenizer: Tokenizer) -> Any:
    """A CLIPModel with random weights."""
    towers = {
        "hidden_size": options.width,
        "intermediate_size": 4 * options.width,
        "num_attention_heads": options.width // 32,
    }
    begin_id, end_id, pad_id = (tokenizer.token_to_id(each) for each in (words.BEGIN, words.END, words.PAD))
    text = {
        "vocab_size": options.vocabulary,
        "max_position_embeddings": options.length,
        "num_hidden_layers": options.text_layers,
        "bos_token_id": begin_id,
        "eos_token_id": end_id,
        "pad_token_id": pad_id,
    }
    image = {
        "image_size": options.size,
        "patch_size": options.patch,
        "num_hidden_layers": options.image_layers,
    }
    library: Any = transformers  # typed only in part
    config = library.CLIPConfig(
        text_config=towers | text, vision_config=towers | image, projection_dim=options.dimensions
    )
    return library.CLIPModel(config)


def lock_images(model: Any, version: Path) -> None:
    """Take the image tower of the CLIPModel in ``version``, and train it no further.

    Raises ValueError where it has other sizes.
    """
    library: Any = transformers
    given = library.CLIPModel.from_pretrained(version, dtype=torch.float32)
    for name in ("vision_model", "visual_projection"):
        part = model.get_submodule(name)
        try:
            part.load_state_dict(given.get_submodule(name).state_dict())
        except RuntimeError as error:
            raise ValueError(f"{version} has an image tower of other sizes: {error}") from error
        part.requires_grad_(False)


def _groups(model: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay, vectors do not."""
    every = [each for each in model.parameters() if each.requires_grad]
    return [
        {"params": [each for each in every if each.ndim > 1], "weight_decay": decay},
        {"params": [each for each in every if each.ndim <= 1], "weight_decay": 0.0},
    ]


def _publish(model: Any, tokenizer: Path, out: Path, options: Options, course: Resumable) -> Manifest:
    model.cpu().half().save_pretrained(out)
    (out / TOKENIZER_FILE).write_bytes(tokenizer.read_bytes())
    (out / "preprocessor_config.json").write_text(json.dumps(_preprocessing(options.size), indent=2))
    curve = course.curve()
    last = curve[-1]
    metrics = {name: value for name, value in last.items() if name not in {"step", "seconds"}} | {
        "parameters": float(sum(each.numel() for each in model.parameters())),
        "pairs_seen": float(last["step"] * options.batch),
        "training_seconds": round(course.seconds, 1),
    }
    config = json.loads((out / "config.json").read_text()) | {"training": asdict(options), "curve": curve}
    corpus = Corpus((), TRAINING_DATA)
    kind = Kind.TEXT_IMAGE_EMBEDDER
    return publish(corpus, out, kind, "clip", config, metrics, "pretrain_clip", options.images)


def _preprocessing(size: int) -> Mapping[str, Any]:
    """As transformers' CLIPImageProcessor reads it."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"height": size, "width": size},
        "do_center_crop": False,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "do_convert_rgb": True,
    }


def run(task: Task, watcher: Watcher) -> None:
    """As a job."""
    out = task.candidate(task.steps)
    if not is_whole(out):
        data = Sets.of(task)
        train(data.learnt, data.held_out, task.work, out, task.options(Options), watcher)
    offer_result(watcher, task.steps, out, manifest_of(out))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the recipe from the command line."""
    options = avatars_parser(__doc__, Options())
    chosen = options.parse_args(arguments)
    settings = read_flags(Options, chosen)
    try:
        manifest = train(Peeps(chosen.data), Peeps(chosen.held_out), chosen.work, chosen.out, settings)
    except (ValueError, OSError) as error:
        options.exit(2, f"pretrain_clip: {error}\n")
    finish(manifest, chosen.out, chosen.alias)


if __name__ == "__main__":
    main()
