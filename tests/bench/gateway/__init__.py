"""Parts of ``bench_gateway``."""
