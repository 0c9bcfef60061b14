"""Models that personal fine-tunes start from, and the files of what they end with."""
