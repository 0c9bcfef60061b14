"""Runs each job as a Kubernetes Job."""
