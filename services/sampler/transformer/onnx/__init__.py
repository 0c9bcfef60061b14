"""Transformers on ONNX Runtime: the graphs that are made of a family, and what runs them."""
