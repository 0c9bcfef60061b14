"""CTranslate2 in 8 bits on weights converted from the same folder: lm_ctranslate.py FOLDER THREADS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import ctranslate2
from ctranslate2.converters import TransformersConverter
from wire import Request, serve_tokens


def converted(folder: Path) -> Path:
    """The model in CTranslate2's format, made at first use beside the folder."""
    out = folder.with_name(f"{folder.name}.ct2")
    if not (out / "model.bin").exists():
        TransformersConverter(str(folder)).convert(str(out), quantization="int8", force=True)
    return out


def main(folder: Path, threads: int) -> None:
    """Load the model and serve."""
    model = converted(folder)
    generator = ctranslate2.Generator(
        str(model), device="cpu", intra_threads=threads, inter_threads=1, compute_type="int8"
    )
    # Prompts are given as names of tokens.
    names: list[str] = json.loads((model / "vocabulary.json").read_text())

    def generate(requests: list[Request]) -> list[list[int]]:
        prompts = [request["prompt"] for request in requests]
        counts = [request["count"] for request in requests]
        # What a prompt has beyond the shortest one is forced token by token, and counts as steps.
        least = min(map(len, prompts))
        last = [len(prompt) - least + count - 1 for prompt, count in zip(prompts, counts, strict=True)]

        def is_done(step: Any) -> bool:
            """Whether a row has all that was asked of it; it leaves the batch then."""
            return bool(step.step >= last[step.batch_id])

        results = generator.generate_batch(
            [[names[token] for token in prompt] for prompt in prompts],
            max_length=max(counts),
            min_length=max(counts),
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=is_done,
        )
        made = zip(results, counts, strict=True)
        return [list(result.sequences_ids[0])[:count] for result, count in made]

    serve_tokens(generate, f"ctranslate2 {ctranslate2.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
