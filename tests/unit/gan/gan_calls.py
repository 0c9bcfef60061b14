"""Calls of the GAN service that tests make again and again."""

from __future__ import annotations

from pequod.gan import v1


def seed(value):
    return v1.Origin(seed=value)


async def one(stub, value=5, model="", **options):
    options = v1.SynthesisOptions(return_codes=True, **options)
    reply = await stub.Sample(v1.SampleRequest(model=model, seeds=[value], options=options))
    return reply.images[0]
