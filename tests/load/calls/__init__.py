"""What callers ask for, one file a modality: a frozen dataclass whose fields are what a scenario may set."""
