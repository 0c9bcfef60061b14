"""What is seen of a platform from beside: its processes, and what they say of themselves."""
