"""Family electra: ELECTRA's discriminator. Clark, Luong, Le, Manning, 2020."""

from __future__ import annotations

from services.tokenizer.encoders.family import BYTES_PER_FILE_BYTE, EncoderFamily, all_positions

__all__ = ["BYTES_PER_FILE_BYTE", "FAMILY", "graphs"]

FAMILY = EncoderFamily(type_ids=True, positions=all_positions)
graphs = FAMILY.graphs
