"""Pictures in files: what callers send, what they get."""
