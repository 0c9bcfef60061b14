"""What a personal fine-tune starts from: a version of family "unet", or a directory of diffusers' format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.common.store import MANIFEST_NAME, Kind, Manifest
from services.finetune.recipes.choices.dreambooth import Options
from services.finetune.recipes.personal.models.pixels import Pixels
from services.finetune.recipes.personal.models.tunable import Tunable
from services.finetune.recipes.version import manifest_of

_INDEX = "model_index.json"


@dataclass(frozen=True)
class Base:
    """A folder, and what is known of it."""

    folder: Path
    reference: str
    digest: str
    """Of its manifest; of a directory without one, "": what is in it is not looked at."""
    manifest: Manifest | None

    def tunable(self, options: Options) -> Tunable:
        """Ready to learn."""
        if self.manifest is not None and self.manifest.family == "unet":
            return Pixels(self.folder, self.manifest, options)
        raise ValueError(f"{self.reference} is no model of family 'unet'")


def open_base(folder: Path, reference: str = "") -> Base:
    """``reference``: what the folder is called, for one without a manifest.

    Raises ValueError for a folder that no personal fine-tune starts from.
    """
    if (folder / MANIFEST_NAME).exists():
        manifest = manifest_of(folder)
        if manifest.kind is not Kind.DIFFUSION:
            raise ValueError(f"{folder} is a {manifest.kind}; dreambooth starts from a diffusion model")
        return Base(folder, f"{manifest.name}:{manifest.version}", manifest.digest, manifest)
    if not (folder / _INDEX).is_file():
        raise ValueError(f"{folder} holds neither a version nor a directory of diffusers' format")
    return Base(folder, reference or folder.name, "", None)
