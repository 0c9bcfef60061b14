"""The losses of a GAN and their penalties, against sums that are done by hand."""

from __future__ import annotations

import pytest
import torch

from services.finetune.recipes.gan import losses
from services.gan.families.stylegan import Config, Discriminator

HIGH, LOW = torch.full((4,), 3.0), torch.full((4,), -3.0)


@pytest.mark.parametrize("loss", losses.LOSSES)
def test_losses_fall_where_each_network_wins(loss):
    assert losses.critic_loss(loss, HIGH, LOW) + 1 < losses.critic_loss(loss, LOW, HIGH)
    assert losses.generator_loss(loss, LOW, HIGH) + 1 < losses.generator_loss(loss, HIGH, LOW)


@pytest.mark.parametrize(
    ("loss", "critic", "generator"),
    [
        # Logits 1 of real and -2 of made; softplus(x) = log(1 + e^x).
        (losses.NON_SATURATING, 0.31326 + 0.12693, 2.12693),
        (losses.SATURATING, 0.31326 + 0.12693, -0.12693),
        (losses.RELATIVISTIC, 0.04859, 3.04859),
        (losses.WGAN_GP, -3.0, 2.0),
    ],
)
def test_losses_are_the_sums_of_their_papers(loss, critic, generator):
    real, made = torch.tensor([1.0, 1.0]), torch.tensor([-2.0, -2.0])
    assert losses.critic_loss(loss, real, made) == pytest.approx(critic, abs=1e-4)
    assert losses.generator_loss(loss, real, made) == pytest.approx(generator, abs=1e-4)


def test_only_the_saturating_loss_is_flat_where_the_discriminator_wins():
    sure = torch.full((8,), 9.0)
    shares = {loss: losses.saturated(loss, sure, -sure).item() for loss in losses.LOSSES}
    assert shares == {
        losses.SATURATING: 1,
        losses.NON_SATURATING: 0,
        losses.RELATIVISTIC: 0,
        losses.WGAN_GP: 0,
    }
    assert losses.saturated(losses.NON_SATURATING, sure, sure) == 1
    assert losses.saturated(losses.RELATIVISTIC, -sure, sure) == 1


def test_the_slope_that_counts_as_flat_is_that_of_the_loss():
    made = torch.linspace(-8, 8, 41, requires_grad=True)
    real = torch.zeros(41)
    for loss in (losses.NON_SATURATING, losses.RELATIVISTIC, losses.SATURATING):
        (slopes,) = torch.autograd.grad(losses.generator_loss(loss, real, made) * 41, made)
        assert losses.saturated(loss, real, made) == (slopes.abs() < 0.01).float().mean()


def test_accuracy_is_of_pairs_where_the_loss_compares_pairs():
    real, made = torch.tensor([3.0, 4.0, 5.0, 1.0]), torch.tensor([2.0, 3.0, 4.0, 2.0])
    assert losses.accuracy(losses.RELATIVISTIC, real, made) == 0.75
    assert losses.accuracy(losses.WGAN_GP, real, made) == 0.75
    assert losses.accuracy(losses.NON_SATURATING, real, made) == 0.5  # all are taken for real


def slope(pictures):
    return 3 * pictures[:, 0, 0, 0] + 4 * pictures[:, 1, 0, 0]


def test_steepness_is_the_squared_length_of_gradients():
    assert losses.steepness(slope, torch.rand(2, 3, 4, 4)) == pytest.approx(25)


def test_16_bits_for_products_leave_the_penalty_its_direction():
    """As ``--precision bfloat16`` has it: weights and sums stay in 32 bits."""
    torch.manual_seed(0)
    critic = Discriminator(Config.of(16, 4, 16, 32))
    pictures, nothing = torch.rand(16, 3, 16, 16) * 2 - 1, torch.zeros(16, 4)
    found = []
    for is_halved in (False, True):
        critic.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=is_halved):
            steep = losses.steepness(lambda seen: critic(seen, nothing), pictures)
        steep.backward()
        found.append(
            torch.cat([each.grad.flatten() for each in critic.parameters() if each.grad is not None])
        )
    assert not torch.equal(*found)
    assert torch.cosine_similarity(*found, dim=0) > 0.999


def test_the_gradient_penalty_of_a_plane_is_that_of_its_slope():
    real, made = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    assert losses.gradient_penalty(slope, real, made) == pytest.approx((5 - 1) ** 2)


def test_the_gradient_penalty_is_taken_between_real_and_made():
    """A bowl |x|^2 / 2 has the slope |x|: between (2, 0) and (6, 0) it is 2 + 4 u, for u from 0 to 1."""
    real, made = torch.tensor([[2.0, 0.0]]).repeat(4000, 1), torch.tensor([[6.0, 0.0]]).repeat(4000, 1)
    torch.manual_seed(0)
    found = losses.gradient_penalty(lambda points: points.square().sum(dim=1) / 2, real, made)
    by_hand = sum((1 + 4 * (k + 0.5) / 1000) ** 2 for k in range(1000)) / 1000  # mean of (2 + 4 u - 1)^2
    assert by_hand == pytest.approx(31 / 3, abs=1e-3)
    assert found.item() == pytest.approx(by_hand, rel=0.03)


def test_the_gradient_penalty_pulls_the_critic_towards_slope_one():
    steep = torch.tensor(5.0, requires_grad=True)
    penalty = losses.gradient_penalty(lambda x: steep * x[:, 0], torch.rand(8, 2), torch.rand(8, 2))
    (pull,) = torch.autograd.grad(penalty, steep)
    assert pull == pytest.approx(2 * (5 - 1), rel=1e-4)
