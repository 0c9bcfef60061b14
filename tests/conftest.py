"""What holds for all tests: no test asserts a time, so Hypothesis has no deadline an example."""

from hypothesis import settings

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
