"""One file for each thing that may happen: ``run(cluster, scale)`` does it under load and tells what came."""
