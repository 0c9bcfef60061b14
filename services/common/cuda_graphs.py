"""Work on a GPU recorded as a CUDA graph: many short kernels that are started as one.

A recorded run reads and writes the memory it was recorded with. Whoever runs it again writes new inputs to
the same tensors first, and reads the result before the next run of any graph of the same recorder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Run = Callable[[], Tensor]
Record = Callable[[Run], Run]
"""Makes of a run one that does the same on what its inputs then hold. Raises RuntimeError where it cannot."""


@dataclass(frozen=True)
class Recorded:
    """A run as a graph."""

    graph: torch.cuda.CUDAGraph
    result: Tensor
    run: Run
    """Kept for the tensors that it holds: the graph knows nothing but where they lie."""

    def __call__(self) -> Tensor:
        """Do it again; the result lies where it lay before."""
        self.graph.replay()
        return self.result


def recorder(device: torch.device) -> Record:
    """How runs on a GPU become graphs, all of which share the memory of what comes between."""
    pool = torch.cuda.graph_pool_handle()

    def record(run: Run) -> Run:
        side: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # libraries choose their kernels in the first runs
            run()
            run()
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with (
            torch.cuda.stream(torch.cuda.current_stream(device)),  # the one to go back to, also on failure
            torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"),
        ):
            result = run()
        return Recorded(graph, result, run)

    return record
