"""Family modernbert: ModernBERT, with rotary positions and local attention. Warner and others, 2024."""

from __future__ import annotations

from services.tokenizer.encoders.family import BYTES_PER_FILE_BYTE, EncoderFamily, all_positions

__all__ = ["BYTES_PER_FILE_BYTE", "FAMILY", "graphs"]

FAMILY = EncoderFamily(type_ids=False, positions=all_positions)
graphs = FAMILY.graphs
