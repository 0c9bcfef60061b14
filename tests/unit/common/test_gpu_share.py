"""The share of a GPU: what runtimes are told to keep to, where there is a share and a GPU."""

from types import SimpleNamespace

import pytest

from services.common import gpu_share
from services.common.gpu_share import cap_gpu, cap_torch, gpu_bytes
from services.common.runtimes import onnx
from services.common.settings import SettingsError

GIB = 2**30


class Torch:
    """As much of PyTorch as is asked, on a GPU of 80 GiB."""

    def __init__(self):
        self.fractions = []
        self.cuda = SimpleNamespace(
            current_device=lambda: 0,
            get_device_properties=lambda device: SimpleNamespace(total_memory=80 * GIB),
            set_per_process_memory_fraction=self._fraction,
        )

    def _fraction(self, share, device):
        """As strict as PyTorch's, which refuses a device without a number."""
        assert isinstance(device, int)
        self.fractions.append((share, device))


@pytest.fixture(autouse=True)
def _unsaid(monkeypatch):
    monkeypatch.setattr(gpu_share, "_share", gpu_share._Share())


def test_a_service_has_the_share_that_its_own_setting_says():
    cap_gpu("sampler", {"PEQUOD_SAMPLER_GPU_BYTES": str(20 * GIB), "PEQUOD_GAN_GPU_BYTES": "1"})
    assert gpu_bytes() == 20 * GIB
    cap_gpu("sampler", {})
    assert gpu_bytes() == 0


def test_a_bad_share_stops_the_start():
    with pytest.raises(SettingsError, match="PEQUOD_GAN_GPU_BYTES"):
        cap_gpu("gan", {"PEQUOD_GAN_GPU_BYTES": "half"})


@pytest.mark.parametrize(
    ("share", "device", "told"),
    [
        (20 * GIB, "cuda", [(0.25, 0)]),
        (20 * GIB, "cuda:1", [(0.25, 1)]),
        (200 * GIB, "cuda", [(1.0, 0)]),
        (20 * GIB, "cpu", []),
        (0, "cuda", []),
    ],
)
def test_pytorch_keeps_to_it_on_a_gpu(share, device, told):
    cap_gpu("diffusion", {"PEQUOD_DIFFUSION_GPU_BYTES": str(share)})
    torch = Torch()
    cap_torch(torch, device)
    assert torch.fractions == told


def test_onnx_runtime_keeps_to_it_on_a_gpu():
    without = onnx._options("cuda")
    assert "gpu_mem_limit" not in without
    cap_gpu("gan", {"PEQUOD_GAN_GPU_BYTES": str(2 * GIB)})
    assert onnx._options("cuda") == {
        **without,
        "gpu_mem_limit": "2147483648",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert onnx._options("cpu") == {}
