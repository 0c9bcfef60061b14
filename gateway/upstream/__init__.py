"""Backends: their channels, health, choice, and the forwarding of a call to one of them."""
