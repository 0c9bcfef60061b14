"""Transformer language models: the contract of their families, and the runners that step them."""
