"""Thread caps: shares of the cores we really have, applied to what is loaded and what comes later."""

import json
import logging
import os
import subprocess
import sys

import pytest

from services.common import threads
from services.common.settings import SettingsError


@pytest.mark.parametrize(
    ("services", "cores", "expected"), [(1, 8, 8), (5, 2, 1), (5, 16, 3), (2, 2, 1), (3, 1, 1), (4, 8, 2)]
)
def test_each_service_gets_its_share_but_at_least_one(services, cores, expected):
    assert threads.threads_for(services, cores) == expected


def test_without_cores_the_available_ones_are_shared():
    assert threads.threads_for(1) == threads.available_cores()
    assert threads.threads_for(10_000) == 1


def test_the_environment_may_say_how_many():
    assert threads.own_threads(5, {"PEQUOD_THREADS": "3"}) == 3
    assert threads.own_threads(10_000, {}) == threads.own_threads(10_000, {"PEQUOD_THREADS": "0"}) == 1
    with pytest.raises(SettingsError, match="PEQUOD_THREADS"):
        threads.own_threads(5, {"PEQUOD_THREADS": "all"})


@pytest.mark.parametrize("services", [0, -1])
def test_no_services_is_refused(services):
    with pytest.raises(ValueError, match=f"services={services}"):
        threads.threads_for(services, 4)


def test_affinity_bounds_the_cores():
    one = min(os.sched_getaffinity(0))
    code = (
        "import os; from services.common import threads;"
        f"os.sched_setaffinity(0, {{{one}}}); print(threads.available_cores())"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert shown.stdout.strip() == "1"


def cgroup(tmp_path, line, **files):
    (tmp_path / "own").write_text(line + "\n")
    for name, text in files.items():
        path = tmp_path / name.replace("__", "/").replace("_max", ".max")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return threads.cgroup_quota(tmp_path, tmp_path / "own")


def test_a_v2_quota_is_read(tmp_path):
    assert cgroup(tmp_path, "0::/", cpu_max="150000 100000\n") == 1.5


def test_the_tightest_quota_on_the_way_up_counts(tmp_path):
    quota = cgroup(
        tmp_path,
        "0::/pods/pequod",
        pods__cpu_max="400000 100000\n",
        pods__pequod__cpu_max="max 100000\n",
        cpu_max="max 100000\n",
    )
    assert quota == 4.0


def test_an_unlimited_quota_is_none(tmp_path):
    assert cgroup(tmp_path, "0::/", cpu_max="max 100000\n") is None


def test_a_v1_quota_is_read(tmp_path):
    folder = tmp_path / "cpu" / "docker" / "abc"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("200000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (folder.parent / "cpu.cfs_quota_us").write_text("-1\n")
    (folder.parent / "cpu.cfs_period_us").write_text("100000\n")
    assert cgroup(tmp_path, "3:cpu,cpuacct:/docker/abc") == 2.0


def test_without_cgroups_there_is_no_quota(tmp_path):
    assert threads.cgroup_quota(tmp_path, tmp_path / "absent") is None


@pytest.mark.parametrize(("quota", "expected"), [(0.5, 1), (1.9, 1), (None, 4), (64.0, 4)])
def test_cores_are_the_smaller_of_affinity_and_quota(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(threads, "cgroup_quota", lambda: quota)
    assert threads.available_cores() == expected


CAPPED = """
import json, logging, os, sys
from services.common import threads
{before}
threads.cap_threads(1)
after_cap = "torch" in sys.modules
import numpy, threadpoolctl, torch
print(json.dumps({{
    "torch_imported_by_cap": after_cap,
    "omp": os.environ["OMP_NUM_THREADS"],
    "torch": torch.get_num_threads(),
    "pools": [pool["num_threads"] for pool in threadpoolctl.threadpool_info()],
}}))
"""


@pytest.mark.parametrize("before", ["", "import torch"], ids=["torch later", "torch before"])
def test_a_cap_reaches_every_native_pool(before):
    shown = subprocess.run(
        [sys.executable, "-c", CAPPED.format(before=before)],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = json.loads(shown.stdout)
    assert found["torch_imported_by_cap"] is bool(before)
    assert found["omp"] == "1"
    assert found["torch"] == 1
    assert found["pools"]
    assert set(found["pools"]) == {1}


def test_a_cap_is_logged(monkeypatch, caplog):
    monkeypatch.setattr(os, "environ", {})
    monkeypatch.setattr(threads, "threadpool_limits", lambda limits: None)
    monkeypatch.setattr(threads, "_cap_torch", lambda threads: None)
    with caplog.at_level(logging.INFO, "pequod.threads"):
        threads.cap_threads(3)
    assert [(r.message, r.threads) for r in caplog.records] == [("threads capped", 3)]
    assert os.environ["MKL_NUM_THREADS"] == "3"


def test_a_cap_below_one_is_refused():
    with pytest.raises(ValueError, match="threads=0"):
        threads.cap_threads(0)
