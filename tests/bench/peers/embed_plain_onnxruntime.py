"""The exported fp32 graph in a plain ONNX Runtime session: embed_plain_onnxruntime.py FOLDER THREADS GRAPH.

What one would write oneself: batches of 32 in the order of arrival, padded to the longest, pooled in numpy.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer
from wire import serve_texts

BATCH = 32


def main(folder: Path, threads: int, graph: Path) -> None:
    """Open the session and serve."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.enable_padding()

    def embed(texts: list[str]) -> np.ndarray:
        encoded = tokenizer.encode_batch(texts)
        ids = np.array([each.ids for each in encoded])
        mask = np.array([each.attention_mask for each in encoded])
        (states,) = session.run(["token_embeddings"], {"input_ids": ids, "attention_mask": mask})
        weights = mask[..., None].astype(np.float32)
        pooled = (states * weights).sum(axis=1) / weights.sum(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def encode(texts: list[str]) -> np.ndarray:
        return np.concatenate([embed(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)])

    serve_texts(encode, f"onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
