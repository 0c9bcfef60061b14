"""Names of a version's files and of its graphs."""

from __future__ import annotations

GENERATOR, DISCRIMINATOR = "generator.safetensors", "discriminator.safetensors"
MEAN = "mapping.mean"
"""The mean style [width] among the generator's tensors."""

MAPPING, SYNTHESIS, JUDGE = "mapping", "synthesis", "discriminator"
"""The graphs, in files of their own."""
STYLES, PICTURES, LOGITS = "styles", "made", "logits"
"""What they return: [n, width], [n, 3, size, size], [n]."""
