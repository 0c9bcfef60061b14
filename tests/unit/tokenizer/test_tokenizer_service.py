"""The token and word RPCs through a real server: what they answer, what they refuse."""

from pathlib import Path

import grpc
import grpc.aio
import pytest

from pequod.common.v1 import TokenIds
from pequod.tokenizer import v1
from services.common.metrics import Metrics
from services.common.store import Kind, Manifest, describe_files
from services.common.store.settings import StoreSettings
from services.tokenizer.__main__ import TokenizerProcess
from services.tokenizer.settings import TokenizerSettings
from tests.unit.serving import refused, serving
from tests.unit.tokenizer.encoder_models import wordpiece

ROOT = Path(__file__).parents[3]


def language_model(store):
    """A version of a model that another service runs: its tokenizer, and no weights that could be loaded."""
    folder = store / "talker" / "1"
    folder.mkdir(parents=True)
    wordpiece().save(str(folder / "tokenizer.json"))
    manifest = Manifest(
        name="talker",
        version="1",
        kind=Kind.LANGUAGE_MODEL,
        family="llama",
        files=describe_files(folder),
    )
    (folder / "model.json").write_text(manifest.to_json())


@pytest.fixture
async def channel(tmp_path):
    language_model(tmp_path / "user")
    metrics = Metrics("tokenizer")
    stores = StoreSettings(
        shipped=ROOT / "models", user=str(tmp_path / "user"), cache=tmp_path / "cache", load_wait=30
    )
    process = TokenizerProcess(TokenizerSettings(preload=("cl100k", "words")), stores, metrics, threads=1)
    async with serving(process, metrics) as channel:
        yield channel


@pytest.fixture
def tokens(channel):
    return v1.TokenizerServiceStub(channel)


@pytest.fixture
def vectors(channel):
    return v1.EmbeddingServiceStub(channel)


async def test_ids_pieces_and_offsets_agree(tokens):
    text = "后 whale 👩‍👩‍👧"
    reply = await tokens.Tokenize(v1.TokenizeRequest(texts=[text, ""], pieces=True, offsets=True))
    found, empty = reply.tokenizations
    ranges = zip(found.starts, found.ends, strict=True)
    assert [text.encode()[a:b] for a, b in ranges] == list(found.pieces)
    assert len(found.piece_texts) == len(found.ids) == reply.usage.input_tokens
    assert not empty.ids
    assert (reply.usage.model, reply.usage.version) == ("cl100k", "1")


async def test_only_what_is_asked_for_comes(tokens):
    (found,) = (await tokens.Tokenize(v1.TokenizeRequest(texts=["a b"]))).tokenizations
    assert found.ids
    assert not found.pieces
    assert not found.starts
    assert not found.truncated


async def test_a_limit_cuts_and_says_so(tokens):
    request = v1.TokenizeRequest(texts=["one two three", "one"], max_tokens=2, offsets=True)
    long, short = (await tokens.Tokenize(request)).tokenizations
    assert (len(long.ids), len(long.ends), long.truncated) == (2, 2, True)
    assert not short.truncated


async def test_half_a_character_is_no_error(tokens):
    reply = await tokens.Tokenize(v1.TokenizeRequest(model="gpt2", texts=["后"]))
    (first, second) = reply.tokenizations[0].ids
    sequences = [TokenIds(ids=[first]), TokenIds(ids=[first, second]), TokenIds()]
    half, whole, nothing = (
        await tokens.Detokenize(v1.DetokenizeRequest(model="gpt2", sequences=sequences))
    ).detokenizations
    assert (half.data, half.incomplete_bytes, half.text) == (b"\xe5\x90", 2, "\ufffd")
    assert (whole.text, whole.incomplete_bytes) == ("后", 0)
    assert nothing.text == ""


async def test_special_tokens_may_be_left_out_of_the_text(tokens):
    sequences = [TokenIds(ids=[64, 100257, 65])]

    async def text(**options):
        reply = await tokens.Detokenize(v1.DetokenizeRequest(sequences=sequences, **options))
        return reply.detokenizations[0].text

    assert await text() == "a<|endoftext|>b"
    assert await text(skip_special_tokens=True) == "ab"


async def test_pieces_that_are_no_whole_character_are_shown_as_such(tokens):
    reply = await tokens.Tokenize(v1.TokenizeRequest(model="gpt2", texts=["后"], pieces=True))
    (found,) = reply.tokenizations
    assert list(found.pieces) == [b"\xe5\x90", b"\x8e"]
    assert list(found.piece_texts) == ["\ufffd", "\ufffd"]


async def test_all_columns_end_where_the_limit_cuts(tokens):
    request = v1.TokenizeRequest(texts=["one two three"], max_tokens=2, pieces=True, offsets=True)
    (found,) = (await tokens.Tokenize(request)).tokenizations
    assert [list(found.pieces), list(found.starts), list(found.ends)] == [[b"one", b" two"], [0, 3], [3, 7]]


async def test_a_limit_that_is_just_reached_cuts_nothing(tokens):
    (found,) = (await tokens.Tokenize(v1.TokenizeRequest(texts=["one two"], max_tokens=2))).tokenizations
    assert (len(found.ids), found.truncated) == (2, False)


async def test_only_the_allowed_special_tokens_count(tokens):
    special = v1.SpecialTokenOptions(spelt=v1.SPECIAL_TOKENS_ALLOW, allowed_special=["<|fim_prefix|>"])
    request = v1.TokenizeRequest(texts=["<|endoftext|><|fim_prefix|>"], special=special)
    (found,) = (await tokens.Tokenize(request)).tokenizations
    assert found.ids[-1] == 100258
    assert 100257 not in found.ids


async def test_an_encoding_without_a_template_adds_nothing(tokens):
    special = v1.SpecialTokenOptions(add_special_tokens=True)
    assert (await tokens.CountTokens(v1.CountTokensRequest(texts=["a"], special=special))).total == 1


async def test_counts_add_up(tokens):
    reply = await tokens.CountTokens(v1.CountTokensRequest(texts=["Call me Ishmael.", "", "a"]))
    assert (list(reply.counts), reply.total) == ([6, 0, 1], 7)


async def test_special_tokens_are_text_allowed_or_refused(tokens):
    def asked(**options):
        special = v1.SpecialTokenOptions(**options)
        return tokens.Tokenize(v1.TokenizeRequest(texts=["a", "b<|endoftext|>"], special=special))

    assert 100257 not in (await asked()).tokenizations[1].ids
    assert 100257 in (await asked(spelt=v1.SPECIAL_TOKENS_ALLOW)).tokenizations[1].ids
    code, message, field = await refused(asked(spelt=v1.SPECIAL_TOKENS_REFUSE))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "texts[1]")
    assert "<|endoftext|>" in message
    _, _, field = await refused(asked(spelt=v1.SPECIAL_TOKENS_ALLOW, allowed_special=["<|start|>"]))
    assert field == "special.allowed_special[0]"


async def test_a_model_of_another_service_lends_its_tokenizer(tokens):
    special = v1.SpecialTokenOptions(add_special_tokens=True)
    request = v1.TokenizeRequest(model="talker", texts=["the whale"], special=special, offsets=True)
    reply = await tokens.Tokenize(request)
    expected = wordpiece().encode("the whale").ids
    assert list(reply.tokenizations[0].ids) == expected
    assert (reply.tokenizations[0].starts[0], reply.tokenizations[0].ends[0]) == (0, 0)
    assert reply.usage.model == "talker"


async def test_an_embedders_tokenizer_is_read_without_its_weights(tokens):
    reply = await tokens.CountTokens(v1.CountTokensRequest(model="minilm", texts=["hello whale"]))
    assert list(reply.counts) == [2]


async def test_encodings_are_listed_a_page_at_a_time(tokens):
    first = await tokens.ListEncodings(v1.ListEncodingsRequest(page_size=1))
    second = await tokens.ListEncodings(
        v1.ListEncodingsRequest(page_size=1, page_token=first.next_page_token)
    )
    (cl100k,), (gpt2,) = first.encodings, second.encodings
    assert first.HasField("usage")
    assert (cl100k.name, cl100k.vocabulary_size, cl100k.lossless) == ("cl100k", 100277, True)
    assert cl100k.algorithm == v1.TOKENIZER_ALGORITHM_BYTE_BPE
    assert (gpt2.name, dict(gpt2.special_tokens)) == ("gpt2", {"<|endoftext|>": 50256})
    assert not second.next_page_token
    code, _, field = await refused(tokens.ListEncodings(v1.ListEncodingsRequest(page_token="?")))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "page_token")


async def test_bad_requests_for_tokens_name_the_field(tokens):
    for call, field in (
        (tokens.Tokenize(v1.TokenizeRequest()), "texts"),
        (tokens.Tokenize(v1.TokenizeRequest(texts=["a"] * 10_001)), "texts"),
        (tokens.Tokenize(v1.TokenizeRequest(texts=["a", "é" * 2**19 + "a"])), "texts[1]"),
        (tokens.CountTokens(v1.CountTokensRequest(texts=["a" * 2**20] * 17)), "texts"),
        (tokens.Detokenize(v1.DetokenizeRequest()), "sequences"),
        (
            tokens.Detokenize(v1.DetokenizeRequest(sequences=[TokenIds(ids=[1, 10**6])])),
            "sequences[0].ids[1]",
        ),
        (tokens.Detokenize(v1.DetokenizeRequest(sequences=[TokenIds(ids=[100256])])), "sequences[0].ids[0]"),
        (tokens.Detokenize(v1.DetokenizeRequest(sequences=[TokenIds()] * 10_001)), "sequences"),
        (
            tokens.Tokenize(v1.TokenizeRequest(texts=["a"], special=v1.SpecialTokenOptions(spelt=9))),
            "special.spelt",
        ),
        (tokens.Tokenize(v1.TokenizeRequest(model="../cl100k", texts=["a"])), "model"),
        (tokens.ListEncodings(v1.ListEncodingsRequest(page_size=1001)), "page_size"),
    ):
        code, message, violated = await refused(call)
        assert (code, violated) == (grpc.StatusCode.INVALID_ARGUMENT, field), message


async def test_word_vectors_have_no_tokenizer(tokens):
    code, _, _ = await refused(tokens.Tokenize(v1.TokenizeRequest(model="words", texts=["a"])))
    assert code is grpc.StatusCode.FAILED_PRECONDITION


async def test_an_unknown_encoding_suggests_the_close_names(tokens):
    code, message, _ = await refused(tokens.Tokenize(v1.TokenizeRequest(model="cl101k", texts=["a"])))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "cl100k" in message


async def test_neighbours_of_a_vector_are_those_of_its_word(vectors):
    embedded = await vectors.Embed(v1.EmbedRequest(model="words", inputs=[v1.EmbedInput(text="whale")]))
    vector = v1.Vector(values=embedded.embeddings[0].values)
    by_vector = await vectors.Neighbors(v1.NeighborsRequest(vector=vector, limit=4))
    assert by_vector.neighbors[0].word == "whale"
    by_word = await vectors.Neighbors(v1.NeighborsRequest(word="whale", limit=3))
    assert [each.word for each in by_vector.neighbors[1:]] == [each.word for each in by_word.neighbors]
    without = await vectors.Neighbors(v1.NeighborsRequest(word="whale", limit=3, exclude=["sperm", "qqqz"]))
    assert "sperm" not in [each.word for each in without.neighbors]


@pytest.mark.parametrize("method", [v1.ANALOGY_METHOD_UNSPECIFIED, v1.ANALOGY_METHOD_MULTIPLY])
async def test_man_and_mother_less_woman_is_father(vectors, method):
    request = v1.AnalogyRequest(positive=["Man", "mother"], negative=["woman"], method=method)
    neighbors = (await vectors.Analogy(request)).neighbors
    assert neighbors[0].word == "father"
    assert len(neighbors) == 10
    assert not {each.word for each in neighbors} & {"man", "mother", "woman"}


async def test_pairs_of_words_are_compared_in_their_order(vectors):
    pairs = [v1.WordPair(first="horse", second=word) for word in ("cow", "ocean", "horse")]
    cow, ocean, itself = (await vectors.WordSimilarity(v1.WordSimilarityRequest(pairs=pairs))).similarities
    assert cow.cosine > ocean.cosine
    assert cow.dot_product > ocean.dot_product
    assert itself.cosine == pytest.approx(1)


async def test_a_neighbours_rank_is_its_place_by_frequency(vectors):
    reply = await vectors.Neighbors(v1.NeighborsRequest(word="sea", limit=1000))
    ranks = [each.rank for each in reply.neighbors]
    assert len(set(ranks)) == 1000
    pairs = [v1.WordPair(first="sea", second=each.word) for each in reply.neighbors[:5]]
    compared = await vectors.WordSimilarity(v1.WordSimilarityRequest(pairs=pairs))
    expected = [each.cosine for each in compared.similarities]
    assert [each.similarity for each in reply.neighbors[:5]] == pytest.approx(expected, abs=1e-5)


async def test_an_encoding_holds_no_words(vectors):
    code, message, _ = await refused(vectors.Neighbors(v1.NeighborsRequest(model="cl100k", word="a")))
    assert code is grpc.StatusCode.FAILED_PRECONDITION
    assert "holds no word vectors" in message


async def test_every_unknown_word_is_named(vectors):
    request = v1.AnalogyRequest(positive=["man", "zzqq"], negative=["xxyy"])
    code, message, field = await refused(vectors.Analogy(request))
    assert (code, field) == (grpc.StatusCode.INVALID_ARGUMENT, "positive[1]")
    assert "zzqq" in message
    assert "xxyy" in message
    pairs = [v1.WordPair(first="horse", second="qqqz")]
    assert (await refused(vectors.WordSimilarity(v1.WordSimilarityRequest(pairs=pairs))))[2] == (
        "pairs[0].second"
    )


async def test_bad_questions_about_words_name_the_field(vectors):
    for call, field in (
        (vectors.Neighbors(v1.NeighborsRequest()), "word"),
        (vectors.Neighbors(v1.NeighborsRequest(word="qqqz")), "word"),
        (vectors.Analogy(v1.AnalogyRequest(positive=["a"], limit=1001)), "limit"),
        (vectors.Analogy(v1.AnalogyRequest(positive=["a"], negative=["qqqz"])), "negative[0]"),
        (vectors.Analogy(v1.AnalogyRequest(positive=["a"], negative=["a"] * 100)), "positive"),
        (vectors.Neighbors(v1.NeighborsRequest(word="whale", limit=1001)), "limit"),
        (vectors.Neighbors(v1.NeighborsRequest(vector=v1.Vector(values=[1.0]))), "vector.values"),
        (vectors.Neighbors(v1.NeighborsRequest(vector=v1.Vector(values=[0.0] * 300))), "vector.values"),
        (vectors.Analogy(v1.AnalogyRequest()), "positive"),
        (vectors.Analogy(v1.AnalogyRequest(positive=["a"] * 101)), "positive"),
        (vectors.Analogy(v1.AnalogyRequest(positive=["a"], method=7)), "method"),
        (vectors.WordSimilarity(v1.WordSimilarityRequest()), "pairs"),
    ):
        code, message, violated = await refused(call)
        assert (code, violated) == (grpc.StatusCode.INVALID_ARGUMENT, field), message
