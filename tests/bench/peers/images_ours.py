"""The network's graph in ONNX Runtime as the service opens it: images_ours.py FOLDER THREADS GRAPH."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from wire import serve

from services.common.runtimes import open_runtime
from services.common.threads import cap_threads


def main(threads: int, graph: Path) -> None:
    """A group is one call, its items are the rows' timesteps."""
    cap_threads(threads)
    runtime = open_runtime(graph, threads=threads, providers=("cpu",))
    chance = np.random.default_rng(1)
    shapes = {tensor.name: tensor.shape[1:] for tensor in runtime.inputs}
    sample, text = (chance.standard_normal(shapes[name], np.float32) for name in ("sample", "text"))
    mask = np.ones(shapes["mask"], bool)

    def call(timesteps: list[float]) -> Any:
        rows = len(timesteps)
        feeds = {name: np.stack([each] * rows) for name, each in (("sample", sample), ("text", text))}
        feeds |= {"mask": np.stack([mask] * rows), "timestep": np.array(timesteps, np.float32)}
        return runtime.run(feeds)["output"]

    serve(call, f"onnxruntime {onnxruntime.__version__}", [500.0])


if __name__ == "__main__":
    main(int(sys.argv[2]), Path(sys.argv[3]))
