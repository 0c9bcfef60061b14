"""What a Hugging Face directory of a language model holds: weights, tokens, chat template, architecture."""
