"""Other people's clients, each in an environment of its own, so that none decides what versions we run."""
