"""What a version of a GAN has beside its networks: its files' formats, and what is read from them."""
