"""Images in the making: what a walk begins from, how it is steered, how many advance together."""
