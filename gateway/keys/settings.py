"""Where keys are and how callers show who they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.keys.keyfile import KeyFileError
from services.common.settings import setting


@dataclass(frozen=True)
class KeySettings:
    """Keys are asked for as soon as the key file exists, or a JWKS is named."""

    file: Path | None = setting(
        Path("var/keys/keys.json"),
        env="PEQUOD_KEYS_FILE",
        help="Keys by their digests, written by `pequod keys`; read again when it changes.",
    )
    secret_file: Path = setting(
        Path("var/keys/secret"),
        env="PEQUOD_KEYS_SECRET_FILE",
        help="The secret under which keys are hashed; made with the first key.",
    )
    audit_file: Path | None = setting(
        Path("var/keys/audit.jsonl"),
        env="PEQUOD_AUDIT_FILE",
        help="Where calls that change something are written down, one JSON object a line.",
    )
    jwks: str = setting(
        "",
        env="PEQUOD_JWT_JWKS",
        help="URL or file of the JSON Web Key Set that signs tokens; empty: tokens are not taken.",
    )
    issuer: str = setting("", env="PEQUOD_JWT_ISSUER", help="The `iss` that tokens must have.")
    audience: str = setting("", env="PEQUOD_JWT_AUDIENCE", help="The `aud` that tokens must have.")
    tenant_claim: str = setting(
        "tenant", env="PEQUOD_JWT_TENANT_CLAIM", help="The claim that names the tenant."
    )

    @property
    def path(self) -> Path:
        """The key file. Raises KeyFileError where there is to be none."""
        if self.file is None:
            raise KeyFileError("PEQUOD_KEYS_FILE is empty: there are no keys")
        return self.file
