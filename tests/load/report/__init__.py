"""A run for people to read: a page that stands alone, and lines on the console."""
