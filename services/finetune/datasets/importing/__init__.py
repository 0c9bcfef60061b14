"""Where imported files come from: folders of this machine, object stores, the web."""
