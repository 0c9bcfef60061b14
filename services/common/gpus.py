"""Figures of NVIDIA's GPUs by NVML: as metrics when they are scraped, and for whoever asks.

Where there is no library, no driver or no GPU, there are no figures, and nothing goes wrong.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

_LIBRARY = "pynvml"
_FIGURES = (
    ("pequod_gpu_utilization_ratio", "Share of the last moments in which the GPU computed.", "utilisation"),
    ("pequod_gpu_memory_used_bytes", "Memory of the GPU that any process holds.", "used_bytes"),
    ("pequod_gpu_memory_total_bytes", "Memory of the GPU.", "total_bytes"),
    ("pequod_gpu_temperature_celsius", "Temperature of the GPU.", "celsius"),
    ("pequod_gpu_power_watts", "Power that the GPU draws.", "watts"),
)

_logger = logging.getLogger("pequod.gpus")


@dataclass(frozen=True)
class Gpu:
    """One GPU now; None stands for what it does not tell."""

    index: int
    utilisation: float | None
    """0..1."""
    used_bytes: int | None
    """By all processes."""
    total_bytes: int | None
    celsius: float | None
    watts: float | None


class Gpus:
    """Asks the driver. The library is imported with the first question; any thread may ask."""

    def __init__(self) -> None:
        self._library: Any = None
        self._is_absent = False
        self._lock = threading.Lock()

    def read(self) -> Sequence[Gpu]:
        """Every GPU of this machine that the process may see; none where there is no driver."""
        with self._lock:
            library = self._opened()
            if library is None:
                return ()
            try:
                return [_figures(library, index) for index in range(library.nvmlDeviceGetCount())]
            except library.NVMLError as error:
                _logger.warning("the GPUs' driver does not answer: %s", error)
                return ()

    def _opened(self) -> Any:
        """The library, ready to be asked; None where there is none, or no driver. Tried once."""
        if self._library is None and not self._is_absent:
            try:
                library: Any = importlib.import_module(_LIBRARY)
            except ImportError:
                self._is_absent = True
                return None
            try:
                library.nvmlInit()
            except library.NVMLError:
                self._is_absent = True
                return None
            self._library = library
        return self._library


class GpuCollector(Collector):
    """Metrics for a registry: read when they are asked for, and then only."""

    def __init__(self, gpus: Gpus) -> None:
        self._gpus = gpus

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The names, for which nobody has to ask the driver."""
        return (GaugeMetricFamily(name, told, labels=["gpu"]) for name, told, _ in _FIGURES)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, with a sample for each GPU that tells."""
        found = self._gpus.read()
        for name, told, attribute in _FIGURES:
            family = GaugeMetricFamily(name, told, labels=["gpu"])
            for gpu in found:
                value = getattr(gpu, attribute)
                if value is not None:
                    family.add_metric([str(gpu.index)], value)
            yield family


def _figures(library: Any, index: int) -> Gpu:
    """As NVML has them: percent, bytes, degrees Celsius, milliwatts."""
    device = library.nvmlDeviceGetHandleByIndex(index)

    def told(read: Callable[[], Any]) -> Any:
        try:
            return read()
        except library.NVMLError:  # not every GPU, nor every partition of one, tells everything
            return None

    rates = told(lambda: library.nvmlDeviceGetUtilizationRates(device))
    memory = told(lambda: library.nvmlDeviceGetMemoryInfo(device))
    power = told(lambda: library.nvmlDeviceGetPowerUsage(device))
    return Gpu(
        index,
        utilisation=None if rates is None else rates.gpu / 100,
        used_bytes=None if memory is None else memory.used,
        total_bytes=None if memory is None else memory.total,
        celsius=told(lambda: library.nvmlDeviceGetTemperature(device, library.NVML_TEMPERATURE_GPU)),
        watts=None if power is None else power / 1000,
    )
