"""Fuzzing of every parser of bytes from outside: a target a file, one harness, a kept corpus."""
