"""Parts of the recipe that trains a GAN."""
