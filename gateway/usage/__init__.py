"""What every key has used, by hour, model and method."""
