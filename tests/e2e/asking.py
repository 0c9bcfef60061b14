"""One call to each service with its shipped models, which shows that it does its work."""

from __future__ import annotations

from pequod.diffusion import v1 as diffusion
from pequod.gan import v1 as gan
from pequod.sampler import v1 as sampler
from pequod.tokenizer import v1 as tokenizer


def ask_tokenizer(channel):
    stub = tokenizer.EmbeddingServiceStub(channel)
    return len(stub.Embed(tokenizer.EmbedRequest(inputs=[{"text": "a whale"}])).embeddings) == 1


def ask_sampler(channel):
    request = sampler.GenerateRequest(prompt="The old captain", stopping=sampler.Stopping(max_tokens=8))
    return sampler.SamplerServiceStub(channel).Generate(request).completions[0].text


def ask_diffusion(channel):
    request = diffusion.GenerateRequest(prompt="a person", steps=2)
    return [reply.WhichOneof("event") for reply in diffusion.DiffusionServiceStub(channel).Generate(request)]


def ask_gan(channel):
    return gan.GanServiceStub(channel).Sample(gan.SampleRequest(n=1)).images


ASK = {"tokenizer": ask_tokenizer, "sampler": ask_sampler, "diffusion": ask_diffusion, "gan": ask_gan}
