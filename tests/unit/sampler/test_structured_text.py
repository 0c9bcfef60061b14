"""Text that has the form that was asked for, through a real server."""

from __future__ import annotations

import asyncio
import json
import re

import grpc
import pytest

from pequod.sampler import v1
from tests.unit.sampler.asking import generate
from tests.unit.serving import refused

PERSON = json.dumps(
    {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 120},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
)


def drawn(form: v1.StructuredOutput, seed: int, **fields) -> v1.GenerateRequest:
    sampling = v1.Sampling(temperature=1.0, seed=seed)
    return generate(structured=form, sampling=sampling, stopping=v1.Stopping(max_tokens=120), **fields)


@pytest.mark.parametrize("seed", range(4))
async def test_text_has_the_form_that_was_asked_for(sampler, seed):
    forms = [
        v1.StructuredOutput(json_schema=PERSON),
        v1.StructuredOutput(regex=r"[A-Z][a-z]{2,5} \d{3}"),
        v1.StructuredOutput(grammar='start: "yes" | "no" "!"+'),
    ]
    calls = [sampler.Generate(drawn(form, seed)) for form in forms]
    replies = await asyncio.gather(*calls, sampler.Generate(generate()))
    person, word, answer = (reply.completions[0] for reply in replies[:3])
    described = json.loads(person.text)
    assert set(described) == {"name", "age"}
    assert person.text == json.dumps(described, separators=(",", ":"), ensure_ascii=False)
    assert len(described["name"]) <= 8
    assert 0 <= described["age"] <= 120
    assert re.fullmatch(r"[A-Z][a-z]{2,5} \d{3}", word.text)
    assert re.fullmatch(r"yes|no!+", answer.text)
    assert person.finish_reason == v1.FINISH_REASON_STOP
    alone = await sampler.Generate(drawn(forms[0], seed))
    assert alone.completions[0].text == person.text


@pytest.mark.parametrize(
    ("form", "field"),
    [
        (v1.StructuredOutput(json_schema="{"), "structured.json_schema"),
        (v1.StructuredOutput(json_schema='{"type": "poem"}'), "structured.json_schema"),
        (
            v1.StructuredOutput(json_schema='{"type":"integer","minimum":5,"maximum":3}'),
            "structured.json_schema",
        ),
        (v1.StructuredOutput(regex="(a"), "structured.regex"),
        (v1.StructuredOutput(grammar="start: missing"), "structured.grammar"),
        (v1.StructuredOutput(grammar=""), "structured.grammar"),
        (v1.StructuredOutput(regex="a" * 70_000), "structured.regex"),
    ],
)
async def test_forms_that_cannot_be(sampler, form, field):
    code, message, named = await refused(sampler.Generate(generate(structured=form)))
    assert (code, named) == (grpc.StatusCode.INVALID_ARGUMENT, field), message


async def test_a_form_cut_by_the_limit_says_so(sampler):
    request = drawn(v1.StructuredOutput(regex="a{50}"), 1)
    request.stopping.max_tokens = 10
    reply = await sampler.Generate(request)
    assert reply.completions[0].finish_reason == v1.FINISH_REASON_LENGTH
