"""Families of models: how each one's files become something that answers, and the graphs they leave with."""
