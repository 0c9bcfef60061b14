"""Keys: who may call, for which tenant, what, and how much."""
