"""Tells other systems of jobs: written down with the change itself, sent until it is heard."""
