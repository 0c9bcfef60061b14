"""Texts and pictures in one space: CLIP models of transformers, exported as two graphs."""
