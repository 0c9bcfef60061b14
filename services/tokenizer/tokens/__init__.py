"""Tokens: what an encoding does, and how its bytes relate to the text's."""
