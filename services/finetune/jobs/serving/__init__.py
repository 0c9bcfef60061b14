"""FineTuneService: requests read, replies made."""
