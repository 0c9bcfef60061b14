"""Steps models with PyTorch, on CUDA or the CPU: our families', and what else Transformers has code for."""
