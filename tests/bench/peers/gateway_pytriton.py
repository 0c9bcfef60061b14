"""PyTriton (Triton with its Python backend) that gives back what it gets: gateway_pytriton.py PORT."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


@batch  # type: ignore[misc]
def echo(text: Any) -> dict[str, Any]:
    """The same."""
    return {"text_output": text}


def main(port: int) -> None:
    """Serve gRPC on ``port``."""
    config = TritonConfig(
        grpc_address="127.0.0.1", grpc_port=port, allow_http=True, http_port=port + 1, metrics_port=port + 2
    )
    with Triton(config=config) as triton:
        triton.bind(
            model_name="echo",
            infer_func=echo,
            inputs=[Tensor(name="text", dtype=np.bytes_, shape=(1,))],
            outputs=[Tensor(name="text_output", dtype=np.bytes_, shape=(1,))],
            config=ModelConfig(max_batch_size=64, batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
