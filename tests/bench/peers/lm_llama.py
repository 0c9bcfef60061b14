"""llama.cpp in 8 bits, by llama-cpp-python's low-level interface: lm_llama.py FOLDER THREADS.

Its high-level class serves one request at a time. Here all requests share batches, as in llama.cpp's own
server: their prompts together, then a token of each in every step; who has all leaves.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
from lm_gguf import converted
from wire import Request, serve_tokens

SEQUENCES = 32
POSITIONS = 256
"""Of each sequence; the longest request has fewer."""
BATCH = 2048
"""Tokens of a call."""


class Engine:
    """One model and the keys and values of all sequences."""

    def __init__(self, file: Path, threads: int) -> None:
        self._model = llama_cpp.llama_model_load_from_file(
            str(file).encode(), llama_cpp.llama_model_default_params()
        )
        assert self._model, file
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = SEQUENCES * POSITIONS, SEQUENCES
        parameters.n_batch, parameters.n_ubatch = BATCH, 512
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = False
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        assert self._context
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))
        self._batch = llama_cpp.llama_batch_init(BATCH, 0, 1)
        self._fields = {
            name: np.ctypeslib.as_array(getattr(self._batch, name), (BATCH,))
            for name in ("token", "pos", "n_seq_id", "logits")
        }
        self._fields["n_seq_id"][:] = 1

    def generate(self, requests: list[Request]) -> list[list[int]]:
        """All requests at once."""
        assert len(requests) <= SEQUENCES
        llama_cpp.llama_memory_clear(self._memory, True)
        made: list[list[int]] = [[] for _ in requests]
        for slot, token in self._read([request["prompt"] for request in requests]):
            made[slot].append(token)
        while running := [
            slot for slot, request in enumerate(requests) if len(made[slot]) < request["count"]
        ]:
            places = [len(requests[slot]["prompt"]) + len(made[slot]) - 1 for slot in running]
            self._fill(0, [made[slot][-1] for slot in running], places, running, 1)
            for slot, token in zip(running, self._decode(len(running)), strict=True):
                made[slot].append(token)
        return made

    def _read(self, prompts: list[list[int]]) -> list[tuple[int, int]]:
        """Read prompts, as many at a time as a batch holds; the first token after each."""
        first: list[tuple[int, int]] = []
        waiting = list(enumerate(prompts))
        while waiting:
            filled, slots = 0, []
            while waiting and filled + len(waiting[0][1]) <= BATCH:
                slot, prompt = waiting.pop(0)
                count = len(prompt)
                self._fill(filled, prompt, range(count), [slot] * count, 0)
                filled += count
                self._fields["logits"][filled - 1] = 1
                slots.append(slot)
            first += zip(slots, self._decode(filled), strict=True)
        return first

    def _fill(self, start: int, tokens: list[int], places: Any, slots: list[int], wanted: int) -> None:
        """Put tokens into the batch from ``start`` on."""
        part = slice(start, start + len(tokens))
        self._fields["token"][part] = tokens
        self._fields["pos"][part] = places
        self._fields["logits"][part] = wanted
        for place, slot in enumerate(slots, start):
            self._batch.seq_id[place][0] = slot

    def _decode(self, count: int) -> list[int]:
        """Run the batch; the likeliest token at each place whose logits were wanted."""
        self._batch.n_tokens = count
        status = llama_cpp.llama_decode(self._context, self._batch)
        assert status == 0, f"llama_decode: {status}"
        rows = int(self._fields["logits"][:count].sum())
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits(self._context), (rows, self._vocabulary))
        likeliest: list[int] = logits.argmax(axis=1).tolist()
        return likeliest


def main(folder: Path, threads: int) -> None:
    """Load the model and serve."""
    llama_cpp.llama_backend_init()
    engine = Engine(converted(folder), threads)
    serve_tokens(engine.generate, f"llama-cpp-python {version('llama-cpp-python')}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
