"""Low-rank adapters of diffusion networks: their files, and who has which ranks of a network's stacks."""
