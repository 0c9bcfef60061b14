"""Publishes a checkpoint as a version of a model, once, whoever dies in between."""
