"""The shipped language model, through every door, as a fresh machine has it."""

from __future__ import annotations

import json

import grpc
import pytest

from pequod.sampler.v1 import (
    ChatMessage,
    ChatMessages,
    GenerateRequest,
    GenerateStreamRequest,
    NextTokensRequest,
    SamplerServiceStub,
    Sampling,
    ScoreRequest,
    Stopping,
    StructuredOutput,
)

PROMPT = "Call me Ishmael."
SPEC = {"prompt": PROMPT, "sampling": {"seed": "7"}, "stopping": {"maxTokens": 40}}
TABLES = ("He devoured the orange", "For my 16th birthday, Poseidon gave me a")


@pytest.fixture(scope="module")
def stub(platform):
    with grpc.insecure_channel(platform.grpc) as channel:
        yield SamplerServiceStub(channel)


def request(kind=GenerateRequest, **fields):
    whole = {"prompt": PROMPT, "sampling": Sampling(seed=7), "stopping": Stopping(max_tokens=40)} | fields
    return kind(**whole)


def test_the_same_seed_gives_the_same_story_through_every_door(platform, stub):
    """It is the model of requests that name none."""
    reply = stub.Generate(request())
    by_grpc = reply.completions[0].text
    by_stream = "".join(part.text for part in stub.GenerateStream(request(GenerateStreamRequest)))
    status, by_json = platform.post("pequod.sampler.v1.SamplerService/Generate", SPEC)
    line = platform.run("text", "--seed", "7", "--max-tokens", "40", PROMPT)
    assert status == 200
    assert line.returncode == 0, line.stderr
    assert reply.usage.model == "storyteller"
    assert by_grpc == by_stream == by_json["completions"][0]["text"]
    assert line.stdout.rstrip("\n") == PROMPT + by_grpc


@pytest.mark.parametrize("prompt", TABLES)
def test_the_lectures_tables_are_drawn_at_a_temperature(platform, stub, prompt):
    tables = {
        t: stub.NextTokens(NextTokensRequest(prompt=prompt, sampling=Sampling(temperature=t), limit=1000))
        for t in (0.5, 1.0, 2.0)
    }
    peaks = [tables[t].tokens[0].probability for t in (0.5, 1.0, 2.0)]
    assert peaks == sorted(peaks, reverse=True)
    assert [tables[t].entropy_bits for t in (0.5, 1.0, 2.0)] == sorted(
        table.entropy_bits for table in tables.values()
    )
    likeliest = {table.tokens[0].text for table in tables.values()}
    assert len(likeliest) == 1
    done = platform.run("next", "--temperature", "0.7", prompt)
    assert done.returncode == 0, done.stderr
    assert repr(likeliest.pop()) in done.stdout
    assert "█" in done.stdout


def test_its_three_phases_are_shown(platform):
    done = platform.run("inspect", "--json", PROMPT)
    assert done.returncode == 0, done.stderr
    inside = json.loads(done.stdout)
    tokens, layers = inside["tokens"], inside["layers"]
    assert "".join(token["text"] for token in tokens) == PROMPT
    assert len(inside["embeddings"]) == inside["dimensions"] * len(tokens)
    assert len(layers) == 7
    assert len(layers[1]["heads"]) == 4
    drawn = platform.run("inspect", "--attention", PROMPT)
    for words in ("D = 256 x N = ", "the last token after each layer", "Unembedding: the next token"):
        assert words in drawn.stdout


def test_english_is_likelier_than_the_same_words_in_another_order(stub):
    def per_token(text: str) -> float:
        reply = stub.Score(ScoreRequest(text=text))
        return reply.log_likelihood / reply.scored_tokens

    pairs = [
        ("She had been to the house before.", "Before house the to been had she."),
        ("He was a man of the world.", "World of man the a he was."),
        ("They were going to the sea.", "To sea going they the were."),
    ]
    assert all(per_token(english) > per_token(shuffled) for english, shuffled in pairs)


def test_it_has_no_chat_template_and_says_so(stub):
    chat = ChatMessages(messages=[ChatMessage(role="user", content="hello")])
    with pytest.raises(grpc.RpcError) as caught:
        stub.Generate(GenerateRequest(chat=chat))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "has no chat template; send a prompt instead" in caught.value.details()


def test_text_keeps_to_a_schema(stub):
    name = {"type": "string", "maxLength": 20}
    schema = {
        "type": "object",
        "properties": {"name": name},
        "required": ["name"],
        "additionalProperties": False,
    }
    form = StructuredOutput(json_schema=json.dumps(schema))
    reply = stub.Generate(request(structured=form))
    assert set(json.loads(reply.completions[0].text)) == {"name"}


def test_it_beats_the_best_n_gram_by_its_own_record(platform):
    """Held-out bits a byte beside Kneser-Ney over the same tokens, as the recipe measured both."""
    done = platform.run("models", "show", "storyteller", "--json")
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["model"]["metrics"]
    assert metrics["held_out_bits_per_byte"] <= 0.92 * metrics["kneser_ney_bits_per_byte"]
