"""GAN: pictures from latent vectors, in one pass."""
