"""How much a key may use: rates of requests and of work, and calls at a time."""
