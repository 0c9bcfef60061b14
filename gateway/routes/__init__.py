"""The HTTP doors: RPCs as JSON, and the state of the gateway."""
