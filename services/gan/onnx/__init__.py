"""GANs by their graphs: mapping, synthesis, discriminator."""
