"""The names of a text-image embedder's graphs and of what goes in and out; transformers calls it the same."""

from __future__ import annotations

TEXT, IMAGE = "text", "image"
TOKENS, PIXELS = "input_ids", "pixel_values"
TEXT_VECTORS, IMAGE_VECTORS = "text_embeds", "image_embeds"
