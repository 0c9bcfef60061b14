"""A job in a picture: what was measured over its steps, and what its checkpoints make."""
