"""Where bytes lie: what is arriving in folders, what is kept by its hash."""
