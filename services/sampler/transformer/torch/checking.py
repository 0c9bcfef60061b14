"""What a model and this machine must show before a runner is trusted with them."""

from __future__ import annotations

import importlib.util
import logging

import numpy as np
import torch
from torch import Tensor

from services.sampler.transformer.runner import Block, Logits
from services.sampler.transformer.torch.attention import How, Together, gathered, paged
from services.sampler.transformer.torch.cache import PagedCache
from services.sampler.transformer.torch.foreign.model import ForeignModel, refusal
from services.sampler.transformer.torch.graphs import Attention
from services.sampler.transformer.torch.pages import PAGE
from services.sampler.transformer.torch.runner import TorchRunner
from services.sampler.transformer.torch.stepped import Stepped

_CHECKED = 3 * PAGE + 5
"""Tokens of the text that a model of Transformers is checked with, some of them written one by one."""
_NEAR = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far logits may be from Transformers' own, in the mean, in units of their spread."""

_logger = logging.getLogger("pequod.sampler")


def check_logits(runner: TorchRunner, model: ForeignModel) -> None:
    """Read and write a text in pieces. ValueError when Transformers' own attention gives other logits."""
    ids = np.arange(min(_CHECKED, runner.length)) * 7 % runner.vocabulary
    whole = max(len(ids) - 3, 1)
    found = []
    for begin in range(0, whole, PAGE):
        piece = ids[begin : min(begin + PAGE, whole)]
        found.append(runner.read(0, begin, piece, range(len(piece))).copy())
    found += [runner.write(ids[at : at + 1], [at]).copy() for at in range(whole, len(ids))]
    runner.free(0)
    expected = model.plain_logits(torch.from_numpy(ids).to(model.device)).cpu().numpy()
    distance = float(np.abs(np.concatenate(found) - expected).mean())
    if not distance <= _NEAR[model.dtype] * float(expected.std()) + 1e-6:
        raise refusal(model.name, "keys and values are not all that it remembers: logits are not its own")


def keeps_to_itself(runner: TorchRunner) -> bool:
    """Whether a slot gets the same to the bit alone and in company."""
    company = min(runner.slots, 20)
    alone, together = (_first_of(runner, count) for count in (1, company))
    return all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def _first_of(runner: TorchRunner, count: int) -> tuple[Logits, Block]:
    """What the first of ``count`` slots gets by writing; their texts differ in tokens and length."""
    lengths = [min(1 + slot * 5 % 24, runner.length - 1) for slot in range(count)]
    chance = np.random.default_rng(0)
    ids = chance.integers(0, runner.vocabulary, (count, runner.length))
    for slot, length in enumerate(lengths):
        runner.read(slot, 0, ids[slot, :length], [length - 1])
    logits = runner.write(ids[:, -1].copy(), lengths)[0].copy()
    kept = runner.save(0, lengths[0], 1)
    for slot in range(count):
        runner.free(slot)
    return logits, kept


def best_attention(model: Stepped) -> Attention:
    """Paged attention where FlashAttention 3 is installed and right; else copies of the pages and a mask."""
    if importlib.util.find_spec("flash_attn_interface") is None:
        return gathered
    from torch.nn.attention import activate_flash_attention_impl, restore_flash_attention_impl

    try:
        activate_flash_attention_impl("FA3")
        if _is_right(paged, model):
            return paged
        why = "its results are wrong"
    except Exception as error:  # kernels that do not fit the GPU fail in many ways
        why = str(error)
    restore_flash_attention_impl()
    _logger.warning("FlashAttention 3 is not used", extra={"error": why})
    return gathered


@torch.inference_mode()
def _is_right(attention: Attention, model: Stepped) -> bool:
    """Whether an attention gives what gathered pages give, for the shape of the model's first layer."""
    shape, count = model.layers[0], 40
    cache = PagedCache([shape], 4, model.dtype, model.device)
    chance = torch.Generator(model.device).manual_seed(0)

    def drawn(heads: int, width: int) -> Tensor:
        return torch.randn(count, heads, width, generator=chance, device=model.device, dtype=model.dtype)

    q = drawn(2 * shape.kv_heads, shape.key_width)
    k, v = drawn(shape.kv_heads, shape.key_width), drawn(shape.kv_heads, shape.value_width)
    pages = torch.tensor([[3, 1, 4]], dtype=torch.int32, device=model.device)
    order = torch.arange(count, device=model.device)
    places = pages[0].long()[order // PAGE] * PAGE + order % PAGE
    step = Together(places, pages, torch.tensor([count], dtype=torch.int32, device=model.device))
    one, other = (each(cache, step)(0, q, k, v, How()).float() for each in (attention, gathered))
    return bool(torch.allclose(one, other, atol=0.02))
