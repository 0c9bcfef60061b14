"""What keeps an operator's command from being done."""

from __future__ import annotations


class UpkeepError(Exception):
    """A sentence for whoever gave the command: what is wrong, and with which file or service."""
