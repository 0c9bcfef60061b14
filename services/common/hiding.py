"""Takes secrets out of texts that are written down: who knows one is silent, this is for what others say."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

_HIDDEN = "***"
_FORMS = (
    (re.compile(r"(?P<kept>[a-z][a-z0-9+.-]*://)[^\s/@\"'\\]+@", re.I), r"\g<kept>***@"),
    (re.compile(r"(?P<kept>pq_[0-9a-f]{12}_)[\w-]{43}"), r"\g<kept>***"),
    (re.compile(r"(?P<kept>\bbearer )[^\s\"'\\]+", re.I), r"\g<kept>***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), _HIDDEN),
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}"), _HIDDEN),
    (
        re.compile(
            r"(?P<kept>[?&][\w-]*(?:token|secret|password|passwd|signature|sig|credential|key)=)[^&\s\"'\\]+",
            re.I,
        ),
        r"\g<kept>***",
    ),
)
"""User and password in a URL, keys of this platform, tokens, and parameters of URLs that open something."""
_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "PGPASSWORD",
)
_SHORTEST = 8
"""A shorter value stands in texts by chance."""


class Hiding:
    """Knows the secrets of a process's environment, and what secrets look like."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        values = (environ.get(name, "") for name in _VARIABLES)
        self._values = sorted({each for each in values if len(each) >= _SHORTEST}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """``text`` without them."""
        for value in self._values:
            text = text.replace(value, _HIDDEN)
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text


def hidden(text: str) -> str:
    """``text`` without the secrets of this process's environment."""
    return Hiding(os.environ)(text)
