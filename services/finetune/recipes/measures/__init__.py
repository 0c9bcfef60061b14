"""How near made pictures are to drawn ones, in features of a network that has seen drawings."""
