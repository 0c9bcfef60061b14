"""LoRA adapters: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021."""
