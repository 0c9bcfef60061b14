"""What can go wrong with a GAN: who notices it, what is done about it, and the events of both."""
