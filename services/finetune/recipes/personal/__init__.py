"""What recipe dreambooth is made of: a subject's pictures, words for it, models to tune, scores."""
