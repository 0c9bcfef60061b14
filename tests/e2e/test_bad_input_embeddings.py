"""Bad tokens, words and vectors through the real doors: a status naming the field; the next call works."""

import json
import math

import grpc
import pytest

from pequod.common.v1 import TokenIds
from pequod.tokenizer import v1
from tests.e2e.refusals import UNLIMITED, refused, refused_bytes, violated

PACKAGE = "pequod.tokenizer.v1"
GOOD_EMBED = v1.EmbedRequest(model="minilm", inputs=[v1.EmbedInput(text="a")])
GOOD_COUNT = v1.CountTokensRequest(model="cl100k", texts=["a", ""])
GOOD_WORDS = v1.NeighborsRequest(word="whale", limit=1)


@pytest.fixture(scope="module")
def channel(platform):
    with grpc.insecure_channel(platform.grpc, options=UNLIMITED) as channel:
        yield channel


@pytest.fixture
def tokenizer(channel):
    return v1.TokenizerServiceStub(channel)


@pytest.fixture
def embeddings(channel):
    return v1.EmbeddingServiceStub(channel)


@pytest.fixture(autouse=True)
def _good_requests_work_afterwards(tokenizer, embeddings):
    yield
    assert embeddings.Embed(GOOD_EMBED, timeout=30).dimensions == 384
    assert tokenizer.CountTokens(GOOD_COUNT, timeout=30).counts == [1, 0]
    assert len(embeddings.Neighbors(GOOD_WORDS, timeout=30).neighbors) == 1


def embed(*texts, ids=None, **options):
    given = [v1.EmbedInput(text=text) for text in texts]
    if ids is not None:
        given.append(v1.EmbedInput(ids=TokenIds(ids=ids)))
    return v1.EmbedRequest(model="minilm", inputs=given, options=v1.EmbedOptions(**options))


def named(error, field, *parts):
    """The error is the caller's, names ``field``, and says each of ``parts``."""
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error
    assert violated(error) == field
    assert field in error.details()
    for part in parts:
        assert part in error.details()


@pytest.mark.parametrize(
    ("request_of", "field", "parts"),
    [
        (embed, "inputs", ()),
        (lambda: embed("a", ""), "inputs[1].text", ("empty",)),
        (lambda: v1.EmbedRequest(inputs=[v1.EmbedInput()]), "inputs[0]", ()),
        (lambda: embed("a" * 10_000_000), "inputs[0].text", ("10000000", "1048576")),
        (lambda: embed(*["a"] * 100_000), "inputs", ("100,000", "10,000")),
        (lambda: embed("a", "word " * 300), "inputs[1]", ("302", "256")),
        (lambda: embed(ids=[30522]), "inputs[0].ids", ("30522",)),
        (lambda: embed("a", prompt_name="no-such-prompt"), "options.prompt_name", ("no-such-prompt",)),
        (lambda: embed("a", dimensions=385), "options.dimensions", ("385", "384")),
        (lambda: embed("a", pooling=99), "options.pooling", ("99",)),
    ],
    ids=["none", "empty", "unset", "10MB", "many", "long", "ids", "prompt", "dimensions", "enum"],
)
def test_embed_names_what_is_bad(embeddings, request_of, field, parts):
    named(refused(embeddings.Embed, request_of()), field, *parts)


def test_a_text_that_is_too_long_is_cut_when_asked_for(embeddings):
    made = embeddings.Embed(embed("word " * 300, truncation=v1.TRUNCATION_END)).embeddings[0]
    assert made.truncated
    assert made.input_tokens == 256


def test_a_bad_message_in_a_stream_is_named(embeddings):
    sent = [v1.EmbedStreamRequest(inputs=[v1.EmbedInput(text=text)]) for text in ("a", "")]
    with pytest.raises(grpc.RpcError) as caught:
        list(embeddings.EmbedStream(iter(sent), timeout=30))
    named(caught.value, "inputs[0].text")


@pytest.mark.parametrize(
    ("request_of", "field", "parts"),
    [
        (v1.TokenizeRequest, "texts", ()),
        (lambda: v1.TokenizeRequest(texts=["a" * 10_000_000]), "texts[0]", ("10000000", "1048576")),
        (lambda: v1.TokenizeRequest(texts=["a"] * 100_000), "texts", ("100,000", "10,000")),
    ],
    ids=["none", "10MB", "many"],
)
def test_tokenize_names_what_is_bad(tokenizer, request_of, field, parts):
    named(refused(tokenizer.Tokenize, request_of()), field, *parts)


@pytest.mark.parametrize("token", [100_256, 2**32 - 1])
def test_an_id_outside_the_vocabulary_is_named(tokenizer, token):
    sequences = [TokenIds(ids=[1]), TokenIds(ids=[5, token])]
    request = v1.DetokenizeRequest(model="cl100k", sequences=sequences)
    named(refused(tokenizer.Detokenize, request), "sequences[1].ids[1]", str(token))


def test_an_unknown_encoding_suggests_the_close_names(platform, tokenizer):
    error = refused(tokenizer.Tokenize, v1.TokenizeRequest(model="cl101k", texts=["a"]))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "cl100k" in error.details()
    line = platform.run("tokens", "--encoding", "cl101k", "a")
    assert line.returncode == 1
    assert "cl100k" in line.stderr
    assert "Traceback" not in line.stderr


@pytest.mark.parametrize(
    ("method", "request_of", "field", "parts"),
    [
        (
            "Analogy",
            lambda: v1.AnalogyRequest(positive=["man", "zzqq"], negative=["xxyy"]),
            "positive[1]",
            ("zzqq", "xxyy"),
        ),
        ("Analogy", v1.AnalogyRequest, "positive", ()),
        ("Neighbors", v1.NeighborsRequest, "word", ()),
        ("Neighbors", lambda: v1.NeighborsRequest(word="zzqq"), "word", ("zzqq",)),
        *(
            ("Neighbors", lambda value=value: near([value] * 300), "vector.values", ())
            for value in (math.nan, math.inf, 0.0)
        ),
        ("Neighbors", lambda: near([1.0]), "vector.values", ("300",)),
        ("Neighbors", lambda: v1.NeighborsRequest(word="whale", limit=1001), "limit", ("1000",)),
        ("WordSimilarity", lambda: pair("horse", "zzqq"), "pairs[0].second", ("zzqq",)),
    ],
    ids=["analogy", "no-analogy", "no-origin", "word", "nan", "inf", "zero", "short", "limit", "pair"],
)
def test_questions_about_words_name_what_is_bad(embeddings, method, request_of, field, parts):
    named(refused(getattr(embeddings, method), request_of()), field, *parts)


def near(values):
    return v1.NeighborsRequest(vector=v1.Vector(values=values))


def pair(first, second):
    return v1.WordSimilarityRequest(pairs=[v1.WordPair(first=first, second=second)])


@pytest.mark.parametrize(
    ("method", "data", "field"),
    [
        ("TokenizerService/Tokenize", b"\x12\x02\xc3\x28", "texts"),
        ("EmbeddingService/Embed", b"\x12\x04\x0a\x02\xc3\x28", "inputs.text"),
        ("EmbeddingService/Analogy", b"\x12\x02\xc3\x28", "positive"),
    ],
)
def test_invalid_utf8_is_refused_with_the_field(channel, method, data, field):
    named(refused_bytes(channel, f"{PACKAGE}.{method}", data), field)


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b'{"inputs": [{"text": "\xc3\x28"}]}', "UTF-8"),
        (b'{"inputs": [{"txt": "a"}]}', "txt"),
        (json.dumps({"inputs": [{"text": ""}]}).encode(), "inputs[0].text"),
        (json.dumps({"inputs": [{"text": "word " * 300}]}).encode(), "302"),
        (json.dumps({"inputs": [{"text": "a"}], "options": {"dimensions": -1}}).encode(), "dimensions"),
    ],
    ids=["utf8", "unknown-field", "empty", "long", "negative"],
)
def test_bad_json_is_refused_with_the_place(platform, body, part):
    status, reply = platform.post(f"{PACKAGE}.EmbeddingService/Embed", body)
    assert status == 400, reply
    assert part in reply["error"]["message"], reply


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("embed", "--dimensions", "385", "a"), "options.dimensions"),
        (("rank", "a", ""), "documents[0].text"),
        (("words", "analogy", "--plus", "zzqq"), "zzqq"),
        (("words", "neighbors", "zzqq"), "zzqq"),
    ],
)
def test_the_command_line_prints_the_error_and_fails(platform, arguments, part):
    done = platform.run(*arguments)
    assert done.returncode == 1
    assert part in done.stderr
    assert "Traceback" not in done.stderr
