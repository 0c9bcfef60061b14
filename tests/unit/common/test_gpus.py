"""GPU figures: as NVML has them, from a stand-in for its library; none where there is no GPU."""

import sys
import types

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from services.common.gpus import Gpu, GpuCollector, Gpus

pynvml = pytest.importorskip("pynvml")


class Driver(types.ModuleType):
    """The library with two GPUs: the second one, a partition, tells neither how busy nor how hot it is.

    Structures, errors and numbers are those of the real library.
    """

    def __init__(self):
        super().__init__("pynvml")
        self.NVMLError, self.NVML_TEMPERATURE_GPU = pynvml.NVMLError, pynvml.NVML_TEMPERATURE_GPU
        self.inits, self.fault = 0, None

    def nvmlInit(self):
        self.inits += 1
        if self.fault is not None:
            raise pynvml.NVMLError(self.fault)

    def nvmlDeviceGetCount(self):
        if self.fault is not None:
            raise pynvml.NVMLError(self.fault)
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUtilizationRates(self, device):
        self._whole(device)
        return pynvml.c_nvmlUtilization_t(gpu=42, memory=7)

    def nvmlDeviceGetMemoryInfo(self, device):
        return pynvml.c_nvmlMemory_t(total=85899345920, free=64424509440, used=21474836480)

    def nvmlDeviceGetTemperature(self, device, sensor):
        assert sensor == pynvml.NVML_TEMPERATURE_GPU
        self._whole(device)
        return 61

    def nvmlDeviceGetPowerUsage(self, device):
        self._whole(device)
        return 312_500

    def _whole(self, device):
        if device == 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def driver(monkeypatch):
    stand_in = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", stand_in)
    return stand_in


def scraped(gpus):
    registry = CollectorRegistry()
    registry.register(GpuCollector(gpus))
    return generate_latest(registry).decode()


def test_figures_are_in_base_units(driver):
    whole, part = Gpus().read()
    assert whole == Gpu(0, 0.42, 21474836480, 85899345920, 61, 312.5)
    assert part == Gpu(1, None, 21474836480, 85899345920, None, None)


def test_the_driver_is_opened_once_and_asked_at_each_scrape(driver):
    gpus = Gpus()
    registry = CollectorRegistry()
    registry.register(GpuCollector(gpus))
    assert not driver.inits, "nobody has scraped yet"
    for _ in range(2):
        lines = generate_latest(registry).decode().splitlines()
        assert 'pequod_gpu_utilization_ratio{gpu="0"} 0.42' in lines
        assert 'pequod_gpu_memory_used_bytes{gpu="1"} 2.147483648e+10' in lines
        assert 'pequod_gpu_power_watts{gpu="0"} 312.5' in lines
        assert not any(line.startswith('pequod_gpu_power_watts{gpu="1"}') for line in lines)
    assert driver.inits == 1


def test_a_driver_that_fails_meanwhile_leaves_a_gap_and_no_error(driver):
    gpus = Gpus()
    assert len(gpus.read()) == 2
    driver.fault = pynvml.NVML_ERROR_GPU_IS_LOST
    assert gpus.read() == ()
    driver.fault = None
    assert len(gpus.read()) == 2


def test_without_a_driver_there_are_names_and_no_figures(driver):
    driver.fault = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
    gpus = Gpus()
    for _ in range(2):
        text = scraped(gpus)
        assert "# TYPE pequod_gpu_memory_used_bytes gauge" in text
        assert "pequod_gpu_memory_used_bytes{" not in text
    assert driver.inits == 1


def test_without_the_library_neither(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # an import of it fails
    assert Gpus().read() == ()
    assert "{" not in scraped(Gpus())


def test_the_real_library_says_what_this_machine_has():
    found = Gpus().read()
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        assert found == ()
    else:
        assert len(found) == pynvml.nvmlDeviceGetCount()
