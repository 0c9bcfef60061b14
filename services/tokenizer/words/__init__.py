"""Word vectors: the vocabulary, the vectors, exact search."""
