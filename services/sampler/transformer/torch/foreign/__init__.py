"""Models that run by Transformers' own code."""
