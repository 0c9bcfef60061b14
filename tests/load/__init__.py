"""The load harness: scenarios against a running platform, checked call by call."""
