"""Architectures of GANs, one file each.

A family's file has ``Config`` (a frozen dataclass with ``size``, ``latent``, ``attributes``, ``width``,
``layers`` and ``noise``), ``Generator`` with its ``mapping`` (which holds ``mean``, the mean style) and
``synthesis``, and ``Discriminator``. Their ``forward`` take what they know of: ``z`` and ``attributes``;
``w`` and ``noise``; ``pictures`` and ``attributes``.
"""
