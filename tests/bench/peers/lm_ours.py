"""Our engine, without scheduler and gRPC: lm_ours.py FOLDER THREADS PRECISION [DEVICE]."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import onnxruntime
from wire import serve_tokens

from services.common.threads import cap_threads
from tests.bench.lm.engine import opened, written


def main(folder: Path, threads: int, precision: str, device: str = "cpu") -> None:
    """Load the model and serve."""
    cap_threads(threads)
    engine = opened(folder, threads, precision, device)
    serve_tokens(partial(written, engine), f"onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
