"""The graphs that leave PyTorch: steps, looks inside, exports; only what makes them needs it."""
