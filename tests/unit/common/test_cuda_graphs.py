"""What a graph has been recorded from lives as long as the graph, which knows addresses alone."""

import contextlib
import gc
import weakref

import torch

from services.common.cuda_graphs import recorder


class Memory:
    """Stands for a tensor that only the run knows."""


def test_what_a_run_reads_is_kept_with_its_graph(monkeypatch):
    calls = []

    class Graph:
        def replay(self):
            calls.append("replay")

    class Stream:
        def __init__(self, *_):
            pass

        def wait_stream(self, _):
            pass

    @contextlib.contextmanager
    def recording(*_, **__):
        calls.append("record")
        yield

    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, 0))
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)

    def made():
        memory = Memory()

        def run():
            calls.append("run")
            assert memory
            return torch.ones(1)

        return run, weakref.ref(memory)

    run, memory = made()
    recorded = recorder(torch.device("cuda"))(run)
    assert calls == ["run", "run", "record", "run"]
    del run
    gc.collect()
    assert memory() is not None
    assert recorded() is recorded()
    assert calls[4:] == ["replay", "replay"]
    del recorded
    gc.collect()
    assert memory() is None
