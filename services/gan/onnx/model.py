"""A GAN by three graphs in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Rows
from dataclasses import dataclass

import numpy as np

from services.common.pictures.arrays import Array, to_pixels
from services.gan.engine import Aim, Companions, Descent, Draft, Drawn, Judged, Latent, Source, Traits
from services.gan.latent.codes import truncated
from services.gan.latent.drawing import latent_of, noise_of
from services.gan.onnx.rows import ExactRows

_TRIED = 64
"""Rows that the mapping network is tried with: it is fast, and its rows are short."""


@dataclass(eq=False)
class OnnxGan:
    """Implements ``services.gan.engine.Model``."""

    name: str
    traits: Traits
    companions: Companions
    mean_style: Array
    """[width]."""
    mapping: ExactRows
    synthesis: ExactRows
    discriminator: ExactRows
    begin_descent: Callable[[Aim], Descent]
    encoder: Callable[[Array], Array] | None = None
    """[3, size, size] -> [width]."""

    def draw(self, drafts: Rows[Draft]) -> Rows[Drawn]:
        """Images, in the order of their drafts."""
        codes = self._blended(drafts)
        noise = [noise_of(each.noise_seed, self.traits.places, each.noise_strength) for each in drafts]
        pictures = self.synthesis.run({"w": np.stack(codes), "noise": np.stack(noise)})
        return [Drawn(to_pixels(picture), code) for picture, code in zip(pictures, codes, strict=True)]

    def judge(self, rows: Rows[Judged]) -> Rows[float]:
        """Logits of the discriminator, high for real."""
        pictures, attributes = ([getattr(each, name) for each in rows] for name in ("picture", "attributes"))
        logits = self.discriminator.run({"pictures": np.stack(pictures), "attributes": np.stack(attributes)})
        return [float(each) for each in logits]

    def guess(self, picture: Array) -> Array | None:
        """[layers, width]: the encoder's guess of a picture's code; None for models without one."""
        if self.encoder is None:
            return None
        return np.repeat(self.encoder(picture)[None], self.traits.layers, axis=0)

    def mean(self) -> Array:
        """[layers, width]: the mean code."""
        return np.repeat(self.mean_style[None], self.traits.layers, axis=0)

    def descend(self, aim: Aim) -> Descent:
        """Begin a projection."""
        return self.begin_descent(aim)

    def settle(self) -> None:
        """Run every graph, and find the rows that their calls must have."""
        rows = max(_TRIED, 2 * self.synthesis.most)
        z = np.stack([latent_of(seed, self.traits.latent) for seed in range(rows)])
        attributes = np.zeros((rows, len(self.traits.vocabulary)), np.float32)
        attributes[1::2, ::3] = 1
        self.mapping.settle({"z": z, "attributes": attributes})
        few = slice(self.synthesis.most)
        w = self.mapping.run({"z": z, "attributes": attributes})[few]
        code = np.repeat(w[:, None], self.traits.layers, axis=1)
        noise = np.stack([noise_of(seed, self.traits.places, 1.0) for seed in range(len(code))])
        self.synthesis.settle({"w": code, "noise": noise})
        pictures = self.synthesis.run({"w": code, "noise": noise})
        both = np.concatenate((pictures, pictures[::-1, :, :, ::-1]))
        self.discriminator.settle({"pictures": both, "attributes": attributes[: len(both)]})

    def close(self) -> None:
        """Let go of the graphs."""
        for each in (self.mapping, self.synthesis, self.discriminator):
            each.close()

    def _blended(self, drafts: Rows[Draft]) -> list[Array]:
        """Each draft's code; the mapping network is asked once for all of them."""
        sources = [source for draft in drafts for source in draft.sources]
        codes = iter(self._codes(sources))
        return [draft.blend([next(codes) for _ in draft.sources]) for draft in drafts]

    def _codes(self, sources: Rows[Source]) -> Rows[Array]:
        """[layers, width] of each source."""
        latents = [each for each in sources if isinstance(each, Latent)]
        if not latents:
            return [each for each in sources if not isinstance(each, Latent)]
        z, attributes = ([getattr(each, name) for each in latents] for name in ("z", "attributes"))
        styles = iter(self.mapping.run({"z": np.stack(z), "attributes": np.stack(attributes)}))
        return [self._truncated(next(styles), each) if isinstance(each, Latent) else each for each in sources]

    def _truncated(self, w: Array, latent: Latent) -> Array:
        return truncated(w, self.mean_style, latent.psi, latent.cutoff, self.traits.layers)
