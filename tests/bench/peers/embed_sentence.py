"""sentence-transformers on the same folder: embed_sentence.py FOLDER THREADS."""

from __future__ import annotations

import sys

import sentence_transformers
import torch
from wire import serve_texts


def main(folder: str, threads: int) -> None:
    """Load the model and serve."""
    torch.set_num_threads(threads)
    model = sentence_transformers.SentenceTransformer(folder, device="cpu")
    serve_texts(
        lambda texts: model.encode(texts, batch_size=32, show_progress_bar=False),
        f"sentence-transformers {sentence_transformers.__version__}, torch {torch.__version__}",
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
