"""The StyleGAN2-like networks: what is computed at once is what is computed one by one, and exports."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from services.common.export.graph import GraphSpec
from services.common.export.writers import write_onnx
from services.gan.families.stylegan import (
    Config,
    Discriminator,
    Generator,
    demodulation,
    modulated,
)

TINY = Config(
    size=16, latent=8, attributes=5, width=8, depth=2, widths=(8, 8, 4), critic_widths=(8, 6, 4), features=8
)


@pytest.fixture
def generator():
    torch.manual_seed(0)
    made = Generator(TINY).eval()
    for layer in made.synthesis.layers:
        layer.strength.data.fill_(0.3)  # it begins without noise
    return made


@pytest.fixture
def discriminator():
    torch.manual_seed(0)
    return Discriminator(TINY)


def drawn(rows, config=TINY):
    chance = torch.Generator().manual_seed(rows)
    attributes = (torch.rand(rows, config.attributes, generator=chance) < 0.5).float()
    widths = config.latent, sum(config.places)
    z, noise = (torch.randn(rows, width, generator=chance) for width in widths)
    return z, attributes, noise


def test_the_shipped_sizes_are_small():
    generator, discriminator = (
        sum(map(torch.numel, each(Config()).parameters())) for each in (Generator, Discriminator)
    )
    assert generator <= 2_600_000
    assert discriminator <= 2_000_000


def test_widths_that_are_not_of_the_size_are_refused():
    with pytest.raises(ValueError, match="are no widths for 32 pixels"):
        replace(TINY, size=32)


def test_layers_and_noise_of_a_size():
    assert TINY.sides == (4, 8, 8, 16, 16)
    assert TINY.places == (16, 64, 64, 256, 256)


def test_shapes(generator, discriminator):
    z, attributes, noise = drawn(3)
    assert generator.mapping(z, attributes).shape == (3, 8)
    pictures = generator(z, attributes, noise)
    assert pictures.shape == (3, 3, 16, 16)
    assert discriminator(pictures, attributes).shape == (3,)


def test_a_picture_is_the_same_alone_and_among_others(generator, discriminator):
    z, attributes, noise = drawn(6)
    discriminator.eval().spread.fill_(0.7)
    together = generator(z, attributes, noise)
    scores = discriminator(together, attributes)
    for row in range(6):
        one = slice(row, row + 1)
        alone = generator(z[one], attributes[one], noise[one])
        torch.testing.assert_close(alone, together[one], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(discriminator(alone, attributes[one]), scores[one], atol=1e-5, rtol=1e-5)


def test_everything_asked_for_is_seen(generator):
    z, attributes, noise = drawn(1)
    picture = generator(z, attributes, noise)
    for other in ((z + 1, attributes, noise), (z, 1 - attributes, noise), (z, attributes, -noise)):
        assert not torch.allclose(generator(*other), picture, atol=1e-3)


def test_scaled_activations_are_scaled_weights():
    """The equations of the paper, one picture at a time: modulate, demodulate, convolve."""
    x, weight, style = torch.randn(3, 5, 6, 6), torch.randn(4, 5, 3, 3), torch.randn(3, 5)
    found = modulated(x, weight, style) * demodulation(weight, style)[:, :, None, None]
    for row in range(3):
        kernel = weight * style[row][None, :, None, None]
        kernel = kernel / (kernel.square().sum(dim=(1, 2, 3), keepdim=True) + 1e-8).sqrt()
        expected = functional.conv2d(x[row : row + 1], kernel, padding=1)
        torch.testing.assert_close(found[row : row + 1], expected, atol=1e-5, rtol=1e-5)


def test_a_layer_is_as_the_paper_writes_it(generator):
    layer = generator.synthesis.layers[1]
    torch.nn.init.normal_(layer.bias)
    x, w, noise = torch.randn(2, 8, 8, 8), torch.randn(2, 8), torch.randn(2, 64)
    style = layer.style(w)
    y = modulated(x, layer.weight, style) * demodulation(layer.weight, style)[:, :, None, None]
    y = y + layer.strength * noise.view(2, 1, 8, 8) + layer.bias[:, None, None]
    torch.testing.assert_close(layer(x, w, noise), functional.leaky_relu(y, 0.2) * 2**0.5)


def test_a_discriminator_in_training_compares_pictures(discriminator):
    alike = torch.randn(1, 3, 16, 16).expand(4, -1, -1, -1)
    nothing = torch.zeros(4, 5)
    differing = torch.cat((alike[:1], torch.randn(3, 3, 16, 16)))
    assert (discriminator(alike, nothing)[0] - discriminator(differing, nothing)[0]).abs() > 1e-3
    assert discriminator.spread > 0


def test_a_batch_of_any_size_is_judged(discriminator):
    for rows in (1, 2, 3, 6):
        assert discriminator(torch.randn(rows, 3, 16, 16), torch.zeros(rows, 5)).isfinite().all()


@pytest.mark.slow  # test_gan_families shows it of a published model's graphs
@pytest.mark.parametrize("part", ["mapping", "synthesis", "discriminator"])
def test_each_network_exports_for_any_number_of_pictures(part, generator, discriminator, tmp_path):
    import onnxruntime

    z, attributes, noise = drawn(2)
    w = generator.mapping(z, attributes)[:, None].expand(-1, len(TINY.sides), -1).contiguous()
    pictures = generator.synthesis(w, noise)
    discriminator.eval().spread.fill_(0.7)
    module, inputs = {
        "mapping": (generator.mapping, {"z": z, "attributes": attributes}),
        "synthesis": (generator.synthesis, {"w": w.detach(), "noise": noise}),
        "discriminator": (discriminator, {"pictures": pictures.detach(), "attributes": attributes}),
    }[part]
    free = {name: {0: "batch"} for name in inputs}
    write_onnx(GraphSpec(module, inputs, ("said",), free), tmp_path / "part.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "part.onnx")
    for rows in (1, 5):
        given = {name: each[:1].repeat(rows, *[1] * (each.ndim - 1)) for name, each in inputs.items()}
        given = {name: each + 0.1 * torch.randn_like(each) for name, each in given.items()}
        (found,) = session.run(None, {name: each.numpy() for name, each in given.items()})
        with torch.no_grad():
            expected = module(**given)
        torch.testing.assert_close(torch.from_numpy(found), expected, atol=1e-4, rtol=1e-4)
