"""Exports the shipped GANs at set-up, so that serving them needs no torch.

python -m services.gan.prepare --models models
"""

from __future__ import annotations

from services.common.export.preparing import exporting
from services.common.store import Kind
from services.common.store.preparing import run
from services.gan.loading.exporting import graphs_of

SHIPPED = frozenset({Kind.GAN})

if __name__ == "__main__":
    run(__doc__, SHIPPED, exporting(graphs_of))
