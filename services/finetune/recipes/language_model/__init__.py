"""The parts of training a language model: its data, its steps, its yardstick."""
