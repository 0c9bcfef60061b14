"""What needs torch: networks with their weights, their graphs, projections. Imported on demand."""
