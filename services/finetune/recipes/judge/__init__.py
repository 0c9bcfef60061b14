"""A classifier that says what an avatar shows, to measure what generators draw."""
