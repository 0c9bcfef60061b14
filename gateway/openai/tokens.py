"""``/v1/tokenize`` and ``/v1/detokenize``, as vLLM has them."""

from __future__ import annotations

from gateway.caller import Caller
from gateway.openai.answer import Answer
from gateway.openai.body import Body, TokenId
from pequod.common.v1 import TokenIds
from pequod.tokenizer import v1

TOKENIZE = "/pequod.tokenizer.v1.TokenizerService/Tokenize"
DETOKENIZE = "/pequod.tokenizer.v1.TokenizerService/Detokenize"


class TokenizeBody(Body):
    """A request."""

    prompt: str
    add_special_tokens: bool = False
    return_token_strs: bool = False


class DetokenizeBody(Body):
    """A request."""

    tokens: list[TokenId]


async def tokenize(body: TokenizeBody, caller: Caller) -> Answer:
    """A text's tokens."""
    request = v1.TokenizeRequest(model=body.model, texts=[body.prompt], pieces=body.return_token_strs)
    request.special.add_special_tokens = body.add_special_tokens
    reply = await caller.one(TOKENIZE, request)
    (found,) = reply.tokenizations
    pieces = {"token_strs": list(found.piece_texts)} if body.return_token_strs else {}
    return {"count": len(found.ids), "tokens": list(found.ids), **pieces}


async def detokenize(body: DetokenizeBody, caller: Caller) -> Answer:
    """Tokens' text."""
    request = v1.DetokenizeRequest(model=body.model, sequences=[TokenIds(ids=body.tokens)])
    reply = await caller.one(DETOKENIZE, request)
    return {"prompt": reply.detokenizations[0].text}
