"""Training jobs: what they are to do, where they stand, who works on them, what happened."""
