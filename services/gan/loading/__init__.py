"""From files of the store to models that can be asked."""
