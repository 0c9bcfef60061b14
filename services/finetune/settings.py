"""What the fine-tune service reads from its environment, beside the database's and the store's settings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from services.common.settings import SettingsError, setting
from services.finetune.datasets.importing.source import SCHEMES


@dataclass(frozen=True)
class FinetuneSettings:
    """Where data sets lie, and how much of them."""

    datasets: str = setting(
        "var/datasets",
        env="PEQUOD_DATASETS",
        help="Files of data sets: a folder, or a URL such as s3://bucket/prefix.",
    )
    work: Path = setting(
        Path("var/finetune/work"),
        env="PEQUOD_FINETUNE_WORK",
        help="Folder for files on their way in; processes that share a database share it too.",
    )
    quota_bytes: int = setting(
        50 * 2**30,
        env="PEQUOD_FINETUNE_QUOTA_BYTES",
        help="Bytes that one tenant's data sets may take; 0: no limit.",
        minimum=0,
    )
    upload_hours: float = setting(
        24.0,
        env="PEQUOD_FINETUNE_UPLOAD_HOURS",
        help="Hours for which an upload that broke off is kept.",
        minimum=0.001,
        maximum=8760,
    )
    import_from: tuple[str, ...] = setting(
        ("https://",),
        env="PEQUOD_IMPORT_FROM",
        help="What data sets may be imported from: https://, s3:// and gs:// addresses, and all below them.",
    )
    encoding: str = setting(
        "cl100k", env="PEQUOD_FINETUNE_ENCODING", help="Encoding that tokens of data sets are counted with."
    )

    def __post_init__(self) -> None:
        """Raises SettingsError for an address that names nothing we import from."""
        for prefix in self.import_from:
            if urlsplit(prefix).scheme not in set(SCHEMES) - {"file"} or "://" not in prefix:
                raise SettingsError(
                    f"PEQUOD_IMPORT_FROM={prefix!r} is not usable: it must begin with https://, s3:// or "
                    "gs://; folders are named in PEQUOD_FILE_ROOTS"
                )
