"""The gRPC edge of every process: statuses, interceptors, server life, side port."""
