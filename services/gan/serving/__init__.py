"""Who does the work: drafts drawn together, and what else images need, each in a lane of its own."""
