"""What each kind of model is as tensors: a file a kind, named as ``ModelKind`` names it."""
