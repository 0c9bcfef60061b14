"""The language model that is tuned, any causal one of Transformers: opened, given factors, asked, written."""

from __future__ import annotations

import contextlib
import inspect
import json
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from services.finetune.recipes.choices.tune_lm import AUTO, LoraOptions, Options
from services.finetune.recipes.device import Device
from services.finetune.recipes.language_tuning.rows import Piece, Rows, packed
from services.finetune.recipes.trained import Trained

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "generation_config.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
)
_CONFIG = "adapter_config.json"
_NEAR = 1e-3
"""How far logits may be from those of a piece alone, by their spread."""


class Network:
    """A model with its tokenizer."""

    def __init__(self, base: Path, options: Options, device: Device) -> None:
        """Raises ValueError for a folder that holds no causal language model."""
        self.base, self.device = base, device
        self._is_lora = isinstance(options, LoraOptions)
        with _quiet():
            self.tokenizer, model = _opened(base, _dtype(options, device))
            model = model.to(device.torch)
            if options.recompute:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
                model.enable_input_require_grads()
            torch.manual_seed(options.seed)
            self.model: Any = _with_factors(model, options) if isinstance(options, LoraOptions) else model
        self.trained = Trained(self.model)
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def logits(self, rows: Rows, apart: bool) -> Tensor:
        """[n, window, vocabulary] in 32 bits; ``apart``: there is one piece in each row."""
        here = self.device.torch
        ids, piece = (torch.from_numpy(each).to(here) for each in (rows.ids, rows.piece))
        given: dict[str, Tensor] = {"attention_mask": (piece > 0).long()}
        if not apart:
            given["attention_mask"] = _own_piece(piece, self.model.dtype)
            if self._takes_positions:
                given["position_ids"] = torch.from_numpy(rows.position).to(here)
        with self.device.products():
            said: Tensor = self.model(input_ids=ids, use_cache=False, **given).logits
        return said.float()

    @torch.no_grad()
    def keeps_apart(self, window: int) -> bool:
        """Whether pieces of a row do not see each other: tried with two, against each alone.

        Not where attention slides over fewer tokens than a piece has, nor where states run through a row.
        """
        half = window // 2
        known = self.model.get_input_embeddings().num_embeddings
        ids = torch.randint(known, (2, half), generator=torch.Generator().manual_seed(0))
        pieces = [Piece(each.numpy(), torch.ones(half, dtype=torch.bool).numpy()) for each in ids]
        self.model.eval()
        try:
            together = self.logits(packed(pieces, window, apart=False), apart=False)[0]
        except Exception:  # whatever a model says of a mask it does not take
            return False
        alone = self.logits(packed(pieces, half, apart=True), apart=True).flatten(0, 1)
        return bool((together[: 2 * half] - alone).abs().max() <= _NEAR * alone.std())

    @torch.no_grad()
    def continued(self, prompt: str, is_chat: bool, tokens: int, seed: int) -> str:
        """``prompt`` and what follows it, drawn at a temperature of 0.8 by ``seed``."""
        self.model.eval()
        coded = self.tokenizer(prompt, return_tensors="pt", add_special_tokens=not is_chat).input_ids
        if not coded.numel():
            coded = torch.tensor([[self.tokenizer.bos_token_id or self.tokenizer.eos_token_id or 0]])
        torch.manual_seed(seed)
        with _quiet(), self.device.products():
            out = self.model.generate(
                input_ids=coded.to(self.device.torch),
                attention_mask=torch.ones_like(coded, device=self.device.torch),
                max_new_tokens=tokens,
                do_sample=True,
                temperature=0.8,
                top_k=0,
                pad_token_id=self.tokenizer.eos_token_id or 0,
            )
        text: str = self.tokenizer.decode(out[0, coded.shape[1] :], skip_special_tokens=True)
        return text

    def write(self, folder: Path, reference: str) -> None:
        """An adapter as PEFT writes it; of the whole model, a directory of Transformers' format."""
        with _quiet():
            if self._is_lora:
                self.model.save_pretrained(folder, save_embedding_layers=False)
                (folder / "README.md").unlink(missing_ok=True)  # a form that nobody filled in
                file = folder / _CONFIG
                config = json.loads(file.read_text()) | {"base_model_name_or_path": reference}
                file.write_text(json.dumps(config, indent=2))
                return
            self.model.save_pretrained(folder)
        for name in TOKENIZER_FILES:
            if (self.base / name).is_file():
                shutil.copyfile(self.base / name, folder / name)


def _opened(base: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(base, local_files_only=True)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, local_files_only=True, use_safetensors=True
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ValueError(f"{base} holds no causal language model: {str(error).splitlines()[0]}") from None
    if not tokenizer.is_fast:
        raise ValueError(f"{base} has no tokenizer.json, which says where in a text its tokens are")
    return tokenizer, model


def _with_factors(model: Any, options: LoraOptions) -> Any:
    import peft

    names = [each.strip() for each in options.lora_targets.split(",") if each.strip()]
    config = peft.LoraConfig(
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules="all-linear" if names == [AUTO] else names,
        task_type="CAUSAL_LM",
    )
    try:
        return peft.get_peft_model(model, config)
    except ValueError as error:
        raise ValueError(f"lora_targets: {str(error).splitlines()[0]}") from None


def _dtype(options: Options, device: Device) -> torch.dtype:
    """What is trained in full stays in 32 bits, for small steps would be lost in 16."""
    is_lora = isinstance(options, LoraOptions)
    if options.precision == "bf16" or (options.precision == AUTO and device.is_gpu and is_lora):
        return torch.bfloat16
    return torch.float32


def _own_piece(piece: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, 1, window, window] to add to scores: 0 where a place may look, else as low as it goes."""
    places = torch.arange(piece.shape[1], device=piece.device)
    earlier = places[:, None] >= places[None, :]
    same = piece[:, :, None] == piece[:, None, :]
    mask = torch.zeros(same.shape, dtype=dtype, device=piece.device)
    return mask.masked_fill(~(same & earlier), torch.finfo(dtype).min)[:, None]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The libraries draw progress bars, and warn of each other's names."""
    import transformers

    logging: Any = transformers.utils.logging  # untyped
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield
