"""Transformers on the same folder: lm_transformers.py FOLDER THREADS generate|batching [cuda]."""

from __future__ import annotations

import sys

import torch
import transformers
from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig
from wire import Request, serve_tokens

BLOCKS = 96
"""Of 256 positions each, for 32 requests with room to spare. Left out, a share of all memory is taken."""
STEP_TOKENS = 1024
"""Most tokens of a step: all prompts of the largest group need a few such steps."""


def generating(model: torch.nn.Module, requests: list[Request]) -> list[list[int]]:
    """One call of ``generate``, prompts padded on the left; all go on as long as the longest needs."""
    longest = max(len(request["prompt"]) for request in requests)
    padding = [longest - len(request["prompt"]) for request in requests]
    rows = [[0] * pad + each["prompt"] for pad, each in zip(padding, requests, strict=True)]
    ids = torch.tensor(rows, device=model.device)
    mask = torch.tensor([[0] * pad + [1] * (longest - pad) for pad in padding], device=model.device)
    count = max(request["count"] for request in requests)
    made = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False)
    written = zip(made[:, longest:].tolist(), requests, strict=True)
    return [row[: request["count"]] for row, request in written]


class Batching:
    """The continuous batching of Transformers: its manager runs all the time."""

    def __init__(self, model: torch.nn.Module) -> None:
        config = ContinuousBatchingConfig(
            num_blocks=BLOCKS, max_batch_tokens=STEP_TOKENS, allow_block_sharing=False
        )
        self._manager = model.init_continuous_batching(
            generation_config=model.generation_config, continuous_batching_config=config
        )
        self._manager.start()

    def __call__(self, requests: list[Request]) -> list[list[int]]:
        """All requests at once, each with its own length."""
        names = [self._manager.add_request(each["prompt"], max_new_tokens=each["count"]) for each in requests]
        made: dict[str, list[int]] = {}
        while len(made) < len(names):
            result = self._manager.get_result(timeout=1)
            if result is None:
                assert self._manager.is_running(), "the manager ended"
            elif result.is_finished():
                assert not result.error, result.error
                made[result.request_id] = list(result.generated_tokens)
        return [made[name] for name in names]

    def close(self) -> None:
        """End the manager's thread."""
        self._manager.stop(block=True, timeout=10)


def main(folder: str, threads: int, way: str, device: str = "cpu") -> None:
    """Load the model and serve; on a GPU in 16 bits."""
    torch.set_num_threads(threads)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(device)
    # No end token: everyone writes as many tokens as asked for.
    model.generation_config = GenerationConfig(do_sample=False, eos_token_id=-1, pad_token_id=0)
    versions = f"transformers {transformers.__version__}, torch {torch.__version__}"
    with torch.inference_mode():
        if way == "batching":
            batching = Batching(model.eval())
            serve_tokens(batching, versions)
            batching.close()
        else:
            serve_tokens(lambda requests: generating(model.eval(), requests), versions)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
