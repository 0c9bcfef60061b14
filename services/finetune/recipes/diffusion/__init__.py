"""What the recipes of diffusion models share."""
