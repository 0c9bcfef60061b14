"""Data sets: received or imported, checked, kept once by content, read by jobs."""
