"""Pictures in files, read the same way by every service."""
