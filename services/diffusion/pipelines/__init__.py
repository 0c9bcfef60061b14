"""Models in diffusers' format (Stable Diffusion, SDXL, Flux), whose rows share calls of the network."""
