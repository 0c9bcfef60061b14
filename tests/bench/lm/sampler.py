"""The sampler service with a chosen number of threads: python -m tests.bench.lm.sampler THREADS.

In a platform each service has its share of the cores; beside a peer it has as many threads as the peer.
"""

from __future__ import annotations

import sys

from services.common.rpc.process import run
from services.common.threads import cap_threads
from services.sampler import __main__ as sampler


def main(threads: int) -> int:
    """Serve until told to stop."""
    cap_threads(threads)
    sampler.threads_for = lambda services, cores=None: threads  # type: ignore[attr-defined]
    return run(sampler.NAME, sampler.main)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
