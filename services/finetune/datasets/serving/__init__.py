"""DatasetService over gRPC: requests checked, work handed on, replies made."""
