"""Transformer language models: the engine that schedules them, free of any runtime."""
