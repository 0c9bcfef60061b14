"""Captioned avatars: what is drawn, how it is told, and the drawings themselves."""
