"""Samples of processes: CPU time across restarts, and how memory goes."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import psutil
import pytest

from tests.load.core.outcome import Record
from tests.load.watching.exposition import Page, read_page
from tests.load.watching.samples import Sample, Watched, at_work, growth, slope, watching

PAGE = """# HELP pequod_queue_depth Requests waiting now.
pequod_queue_depth{service="sampler"} 3.0
pequod_sequences_running{service="sampler"} 2.0
pequod_compute_seconds_count{model="a"} 5.0
pequod_compute_seconds_count{model="b"} 7.0
pequod_compute_seconds_created{model="b"} 1.7e+09
"""


class FakeProcess:
    """A process whose CPU time is set by hand."""

    def __init__(self, cpu):
        self.cpu, self.alive = cpu, True

    def is_running(self):
        return self.alive

    def cpu_times(self):
        if not self.alive:
            raise psutil.NoSuchProcess(1)
        return SimpleNamespace(user=self.cpu, system=0.0)

    def memory_info(self):
        return SimpleNamespace(rss=100 * 2**20)


def memory(values):
    return [Sample(float(at), 0.0, value, None, None) for at, value in enumerate(values)]


def test_a_page_is_summed_over_labels():
    page = Page(PAGE)
    assert page.total("pequod_compute_seconds_count") == 12
    assert page.total("pequod_queue") == 0
    assert at_work(page) == 5
    assert at_work(None) is None


@pytest.mark.parametrize("status", [200, 503])
async def test_a_page_that_is_not_there_is_none(status):
    def answer(request):
        if "gone" in str(request.url):
            raise httpx.ConnectError("refused")
        return httpx.Response(status, text=PAGE)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
        assert ((await read_page(client, "http://x/metrics")) is None) == (status == 503)
        assert await read_page(client, "http://gone/metrics") is None


async def test_cpu_time_goes_on_across_a_restart():
    first, second = FakeProcess(10.0), FakeProcess(0.5)
    processes = [first]
    watched = Watched(lambda: processes[-1], "")
    async with httpx.AsyncClient() as client:
        await watched.sample(0.0, client)
        first.cpu = 12.0
        await watched.sample(1.0, client)
        first.alive = False
        processes.append(second)
        await watched.sample(2.0, client)
        second.cpu = 1.5
        await watched.sample(3.0, client)
    assert [each.cpu_seconds for each in watched.samples] == [0.0, 2.0, 2.5, 3.5]
    assert watched.cpu_between(1.0, 3.0) == 1.5
    assert watched.samples[0].queue_depth is None


async def test_a_process_that_is_gone_leaves_a_gap():
    def find():
        raise LookupError("none")

    watched = Watched(find, "")
    async with httpx.AsyncClient() as client:
        await watched.sample(0.0, client)
    assert watched.samples == []
    assert watched.cpu_between(0.0, 9.0) == 0.0


def test_the_slope_is_per_ten_minutes_after_the_warm_up():
    warm, flat = [50.0 + at / 4 for at in range(200)], [100.0] * 400
    assert slope(memory(warm + flat)) == pytest.approx(0.0, abs=1e-9)
    rising = [100.0 + at / 60 for at in range(600)]
    assert slope(memory(rising)) == pytest.approx(100 * 10 / 106.7, rel=0.01)
    assert slope(memory([1.0] * 440)) is None  # too short to say
    assert slope([]) is None


def test_growth_is_from_the_first_third_to_the_last():
    assert growth(memory([100, 100, 150, 150, 120, 120])) == pytest.approx(20)
    assert growth(memory([1, 2])) is None


async def test_processes_are_looked_for_before_a_run_begins():
    looked = []

    def find():
        looked.append(1)
        return psutil.Process()

    watched = {"one": Watched(find, "")}
    async with watching(watched) as sampling:
        assert len(looked) == 1
        async with sampling(Record()):
            pass
    assert len(looked) == 1
    assert watched["one"].samples
