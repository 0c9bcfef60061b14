"""Tiny modules that the tests of runtimes and exports share."""

import torch
from torch import nn
from torch.nn import functional as F

from services.common.export import GraphSpec, Target


class Encoder(nn.Module):
    """Linear, GELU, LayerNorm, masked mean: [batch, length, 8] -> [batch, length, 16], [batch, 16]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.linear = nn.Linear(8, 16)
        self.norm = nn.LayerNorm(16)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x, mask):
        hidden = self.dropout(self.norm(F.gelu(self.linear(x))))
        weights = mask[..., None]
        return hidden, (hidden * weights).sum(1) / weights.sum(1).clamp(min=1.0)


class Picture(nn.Module):
    """Convolution and nearest upscaling: [batch, 3, height, 6] -> [batch, 4, 2 height, 12]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(8)
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image):
        return F.interpolate(F.silu(self.conv(image)), scale_factor=2.0)


FILES = {Target.ONNX: "model.onnx", Target.TORCHSCRIPT: "model.pt"}

FREE = {"x": {0: "batch", 1: "length"}, "mask": {0: "batch", 1: "length"}}


def encoder_inputs(batch=3, length=5, seed=1):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.ones(batch, length)
    mask[:, -1] = 0.0
    return {"x": torch.randn(batch, length, 8, generator=generator), "mask": mask}


def picture_inputs(batch=2, height=4):
    return {"image": torch.randn(batch, 3, height, 6, generator=torch.Generator().manual_seed(2))}


class Noisy(nn.Module):
    """Draws its own noise."""

    def forward(self, x):
        return x + torch.rand_like(x)


def encoder_spec(**changes):
    settings = {"example_inputs": encoder_inputs(), "output_names": ("hidden", "pooled"), "dynamic": FREE}
    return GraphSpec(**{"module": Encoder(), **settings, **changes})


def picture_spec():
    free = {"image": {0: "batch", 2: "height"}}
    return GraphSpec(Picture(), picture_inputs(), ("image2x",), free)


def leftovers(folder):
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


class Places(nn.Module):
    """Adds to rows where they stand: [length, 4] -> [length, 4]."""

    def forward(self, x):
        return x + torch.arange(x.shape[0], dtype=torch.float32).unsqueeze(1)


class Placed(nn.Module):
    """Makes tensors of its own, below and at the top, as positions and masks are made: [length, 4] twice."""

    def __init__(self):
        super().__init__()
        self.places = Places()

    def forward(self, x):
        order = torch.arange(x.shape[0])
        seen = (order <= order.unsqueeze(1)).float() @ self.places(x)
        return seen, seen + torch.zeros(x.shape[0], 4, dtype=torch.float32)
