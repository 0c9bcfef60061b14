"""The door of KServe's and Triton's clients: models as tensors, over gRPC and over REST."""
