"""What pipelines are put together from: text encoders, VAE, network and adapters, and where they lie."""
