"""Visits to the gateway's page by a real browser; run by the Python of ``tests/clients/playwright.txt``.

``python -m tests.clients.page VISIT URL`` makes one; it fails with what went wrong.
"""

VISITS = (
    "text",
    "meaning",
    "inside",
    "images",
    "faces",
    "status",
    "manners",
    "refusals",
)
"""Each is a file here with a function of the same name."""
LONG_VISITS = ("learning", "narrow", "talking")
"""More of them, which take minutes."""
KEYED = "keyed"
"""One more, to a platform that asks for keys."""

TABS = ("text", "tokens", "inside", "image", "faces", "finetune", "status")
"""The page's tabs, by their names in links; ``portraits.py`` takes a picture of each."""
PHONE = "phone"
HANDHELD = ("text", "image", "faces")
"""The picture PHONE shows these, side by side as on a telephone."""
