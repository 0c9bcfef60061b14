"""Family mpnet: MPNet, with relative positions beside the absolute ones. Song, Tan, Qin, Lu, Liu, 2020."""

from __future__ import annotations

from services.tokenizer.encoders.family import BYTES_PER_FILE_BYTE, EncoderFamily, positions_after_padding

__all__ = ["BYTES_PER_FILE_BYTE", "FAMILY", "graphs"]

FAMILY = EncoderFamily(type_ids=False, positions=positions_after_padding)
graphs = FAMILY.graphs
