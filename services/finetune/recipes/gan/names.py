"""Names of what a GAN's training can be told, apart from the tensors that they lead to."""

NON_SATURATING, RELATIVISTIC = "non_saturating", "relativistic"
WGAN_GP, SATURATING = "wgan_gp", "saturating"
LOSSES = (NON_SATURATING, RELATIVISTIC, WGAN_GP, SATURATING)
"""Of Goodfellow et al., 2014; of Jolicoeur-Martineau, 2018: each real example against a made one; of
Gulrajani et al., 2017: the distance that a critic of slope 1 finds; of Goodfellow et al. too, the game as it
is first written down: it vanishes where the discriminator wins, and is here to be watched doing so."""
ON, OFF = "on", "off"
