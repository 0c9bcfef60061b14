"""How an image is walked from noise to picture: each scheduler asks the network step by step."""
