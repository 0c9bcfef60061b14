"""Checkpoints that could be served: their folders and records, their order, which of them is published."""
