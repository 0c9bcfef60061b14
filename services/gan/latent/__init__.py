"""Latent space: numbers of a seed, ways from code to code. Pure functions of arrays."""
