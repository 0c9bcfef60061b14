"""What a call costs in units of work: estimated from its request at entry, corrected by what it reports."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pequod.common.v1 import Usage

_USUAL_TOKENS = 256
_USUAL_STEPS = 20
_USUAL_SIDE = 64
"""Taken where a request leaves them to the model."""
_USUAL_TRAINING = 600.0
"""Seconds."""
_BYTES_A_TOKEN = 4
_MEGA = 1e6
CREATE_JOB = "/pequod.finetune.v1.FineTuneService/CreateJob"


@dataclass(frozen=True)
class Work:
    """Units of work; see ``gateway.principal.Limits``."""

    tokens: float = 0.0
    megapixel_steps: float = 0.0
    training_minutes: float = 0.0

    def with_usage(self, usage: Usage) -> Work:
        """What was done, as the service reports it; work that it does not report stays as estimated."""
        tokens = float(usage.input_tokens + usage.output_tokens)
        return Work(tokens, self.megapixel_steps, self.training_minutes)


def estimate(path: str, request: Any) -> Work:
    """For a call of the method at ``path`` (``/package.Service/Method``) with the (first) ``request``."""
    rule = _RULES.get(path)
    return rule(request) if rule else Work()


def _generate(request: Any) -> Work:
    read = _read_tokens(request)
    sequences = max(request.n, request.best_of, 1)
    return Work(tokens=read + sequences * (request.stopping.max_tokens or _USUAL_TOKENS))


def _read(request: Any) -> Work:
    return Work(tokens=_read_tokens(request))


def _read_tokens(request: Any) -> float:
    """Of the prompt: a token for every four bytes, or as many as there are."""
    return float(request.prompt_ids.ByteSize() / 2 or request.ByteSize() / _BYTES_A_TOKEN)


def _texts(request: Any) -> Work:
    return Work(tokens=request.ByteSize() / _BYTES_A_TOKEN)


def _paint(request: Any) -> Work:
    side = _USUAL_SIDE
    pixels = (request.width or side) * (request.height or side)
    pictures = max(request.n, request.best_of, 1)
    steps = request.steps if request.HasField("steps") else _USUAL_STEPS
    return Work(megapixel_steps=pixels * pictures * steps / _MEGA)


def _faces(count: Callable[[Any], int]) -> Callable[[Any], Work]:
    """``count``: pictures times steps."""

    def rule(request: Any) -> Work:
        return Work(megapixel_steps=max(count(request), 1) * _USUAL_SIDE**2 / _MEGA)

    return rule


def _train(request: Any) -> Work:
    """A job is forecast only after it was accepted: until then its time limit counts, or the usual time."""
    if request.validate_only:
        return Work()
    return Work(training_minutes=(request.spec.resources.max_seconds or _USUAL_TRAINING) / 60)


_SAMPLER = "/pequod.sampler.v1.SamplerService"
_EMBEDDING = "/pequod.tokenizer.v1.EmbeddingService"
_TOKENIZER = "/pequod.tokenizer.v1.TokenizerService"
_DIFFUSION = "/pequod.diffusion.v1.DiffusionService"
_GAN = "/pequod.gan.v1.GanService"

_RULES: Mapping[str, Callable[[Any], Work]] = {
    f"{_SAMPLER}/Generate": _generate,
    f"{_SAMPLER}/GenerateStream": _generate,
    f"{_SAMPLER}/NextTokens": _read,
    f"{_SAMPLER}/Score": _texts,
    f"{_SAMPLER}/Inspect": _texts,
    f"{_EMBEDDING}/Embed": _texts,
    f"{_EMBEDDING}/Similarity": _texts,
    f"{_EMBEDDING}/Rank": _texts,
    f"{_TOKENIZER}/Tokenize": _texts,
    f"{_TOKENIZER}/CountTokens": _texts,
    f"{_DIFFUSION}/Generate": _paint,
    f"{_DIFFUSION}/NoiseLadder": _faces(lambda request: _USUAL_STEPS),
    f"{_DIFFUSION}/Upscale": _faces(lambda request: 1),
    f"{_GAN}/Sample": _faces(lambda request: max(len(request.seeds), request.n)),
    f"{_GAN}/Interpolate": _faces(lambda request: request.frames),
    f"{_GAN}/Mix": _faces(lambda request: 1),
    f"{_GAN}/Score": _faces(lambda request: len(request.images)),
    f"{_GAN}/Project": _faces(lambda request: request.steps if request.HasField("steps") else 100),
    f"{_GAN}/Edit": _faces(lambda request: 1),
    CREATE_JOB: _train,
}
