"""What a request means for a model: drafts of its images, or an error naming the field that does not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Rows
from dataclasses import dataclass
from functools import partial

from services.common.errors import invalid, unsupported
from services.common.pictures.arrays import Array
from services.gan.engine import Blend, Draft, Latent, Model, Source, Traits
from services.gan.fields import Options, Origin
from services.gan.latent.codes import curved, mixed, place_of, shifted, straight
from services.gan.latent.drawing import latent_of
from services.gan.requests import Edit, Mix, Walk

Way = Callable[[Array, Array, float], Array]


@dataclass(frozen=True, eq=False)
class Setting:
    """What all images of a request have in common."""

    traits: Traits
    options: Options
    attributes: Array
    """[words]."""
    psi: float

    @classmethod
    def of(cls, traits: Traits, options: Options) -> Setting:
        """Raises INVALID_ARGUMENT for what the model does not know or have."""
        if options.cutoff > traits.layers:
            limit = f"must be in 0..{traits.layers} for this model, got {options.cutoff}"
            raise invalid("options.truncation_cutoff", limit)
        attributes = traits.vocabulary.vector(options.attributes, "options.attributes")
        return cls(traits, options, attributes, traits.psi if options.psi is None else options.psi)

    def source(self, origin: Origin) -> Source:
        """Raises INVALID_ARGUMENT for a code of another shape than the model's."""
        if origin.code is None:
            return self.latent(latent_of(origin.seed, self.traits.latent))
        wanted = (self.traits.layers, self.traits.width)
        if origin.code.shape != wanted:
            layers, width = origin.code.shape
            raise invalid(
                f"{origin.field}.code",
                f"is {layers} layers of {width} numbers, this model's codes are {wanted[0]} of {wanted[1]}",
            )
        return origin.code

    def latent(self, z: Array) -> Latent:
        """A latent vector as the request wants it mapped."""
        return Latent(z, self.attributes, self.psi, self.options.cutoff)

    def draft(self, sources: Rows[Source], blend: Blend, seed: int) -> Draft:
        """``seed``: of the fine noise unless the request says another."""
        noise_seed = seed if self.options.noise_seed is None else self.options.noise_seed
        return Draft(tuple(sources), blend, noise_seed, self.options.noise_strength)

    def single(self, origin: Origin) -> Draft:
        """An origin as it is."""
        return self.draft([self.source(origin)], _only, origin.seed)

    def of_code(self, code: Array, noise_seed: int) -> Draft:
        """A code as it is."""
        return Draft((code,), _only, noise_seed, self.options.noise_strength)


def seeded(seed: int) -> Origin:
    """A seed of a list."""
    return Origin("seeds", seed=seed)


def walk(request: Walk, setting: Setting) -> Iterator[Draft]:
    """Frame by frame; raises at once. The fine noise is the first stop's throughout, or it would flicker."""
    stops = [*request.stops, request.stops[0]] if request.loop else request.stops
    return _frames(request, setting, [setting.source(each) for each in stops])


def position(request: Walk, frame: int) -> float:
    """Where a frame is: 1.5 is halfway from the second stop to the third."""
    leg, share = place_of(frame, request.frames, len(request.stops) - 1 + request.loop)
    return leg + share


def _frames(request: Walk, setting: Setting, sources: Rows[Source]) -> Iterator[Draft]:
    go = curved if request.is_curved else straight
    for frame in range(request.frames):
        leg, share = place_of(frame, request.frames, len(sources) - 1)
        ends = (sources[leg], sources[leg + 1])
        if request.in_z:
            begin, end = (each.z for each in ends if isinstance(each, Latent))
            yield setting.draft([setting.latent(go(begin, end, share))], _only, request.stops[0].seed)
        else:
            yield setting.draft(ends, partial(_between, go, share), request.stops[0].seed)


def mix(request: Mix, setting: Setting) -> Draft:
    """Raises INVALID_ARGUMENT for a layer that the model does not have."""
    for place, layers in enumerate(request.layers):
        if max(layers) >= setting.traits.layers:
            raise invalid(
                f"donors[{place}].layers",
                f"must be in 0..{setting.traits.layers - 1} for this model, got {max(layers)}",
            )
    sources = [setting.source(each) for each in (request.base, *request.donors)]
    return setting.draft(sources, partial(mixed, layers=request.layers), request.base.seed)


def edit(request: Edit, setting: Setting, model: Model) -> Draft:
    """Raises INVALID_ARGUMENT for an unknown direction, FAILED_PRECONDITION where the model has none."""
    directions = model.companions.directions
    if directions is None:
        raise unsupported(f"{model.name} has no directions to edit along")
    amounts: dict[str, float] = {}
    for place, (name, amount) in enumerate(request.edits):
        known = directions.resolve(name, f"edits[{place}].direction")
        amounts[known] = amounts.get(known, 0.0) + amount
    blend = partial(_moved, directions.vectors, amounts)
    return setting.draft([setting.source(request.origin)], blend, request.origin.seed)


def _only(codes: Rows[Array]) -> Array:
    (code,) = codes
    return code


def _between(go: Way, share: float, codes: Rows[Array]) -> Array:
    begin, end = codes
    return go(begin, end, share)


def _moved(directions: Mapping[str, Array], amounts: Mapping[str, float], codes: Rows[Array]) -> Array:
    (code,) = codes
    return shifted(code, directions, amounts)
