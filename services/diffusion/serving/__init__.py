"""Requests on their way: who takes part in the next call, what is told to whom, the last part of the way."""
