"""Upscalers: the network, its graph, and what enlarges pictures by it in any service."""
