"""Transformer encoders: what their directory says, their graphs, the engine that runs them."""
