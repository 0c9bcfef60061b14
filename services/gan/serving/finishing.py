"""The last part of an image's way, in a lane of its own: enlarged, encoded, put beside others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pequod.common.v1 import Image
from pequod.gan import v1
from services.common.pictures.reading import Pixels
from services.common.store import ModelVersion
from services.gan import replies
from services.gan.engine import Drawn, Eyes, Upscaler
from services.gan.loading.models import Held
from services.gan.pictures import fitted, grid, psnr
from services.gan.planning import Setting
from services.gan.serving.looking import similarity


@dataclass(frozen=True, eq=False)
class Finishing:
    """What becomes of a request's images."""

    setting: Setting
    version: ModelVersion
    upscaler: Held[Upscaler] | None

    def enlarged(self, drawn: Drawn) -> Drawn:
        """As large as was asked for."""
        if self.upscaler is None:
            return drawn
        return replace(drawn, picture=self.upscaler.model.enlarge(drawn.picture, self.setting.options.factor))

    def single(self, drawn: Drawn, seed: int, seeds: Sequence[int] = ()) -> v1.GeneratedImage:
        """In a file of its own. ``seeds``: what is noted in it, empty where codes have a part in it."""
        encoded = self.encoded(self.enlarged(drawn).picture, seeds)
        return replies.generated(drawn, encoded, seed, self.setting.options.wants_codes)

    def grid(self, pictures: Sequence[Pixels], seeds: Sequence[int]) -> tuple[Image, int]:
        """All in one file, and its columns."""
        whole, columns = grid(pictures)
        return self.encoded(whole, seeds), columns

    def projection(self, picture: Pixels, eyes: Eyes, drawn: Drawn) -> v1.Projection:
        """An image beside the picture that its code was looked for."""
        wanted = fitted(picture, self.setting.traits.size)
        return v1.Projection(
            image=self.encoded(self.enlarged(drawn).picture, ()),
            code=replies.code(drawn.code),
            psnr_db=psnr(drawn.picture, wanted),
            similarity=similarity(drawn.picture, wanted, eyes),
        )

    def encoded(self, picture: Pixels, seeds: Sequence[int]) -> Image:
        """The file."""
        upscaler = "" if self.upscaler is None else str(self.upscaler.version)
        noted = replies.settings(self.setting, self.version, seeds, upscaler) if seeds else None
        return replies.image(picture, self.setting.options.format, noted)
