"""Templates: what the library puts around texts and pairs is found, whatever the tokenizer."""

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from services.tokenizer.tokens.template import Template, pair_template_of, template_of
from tests.unit.tokenizer.encoder_models import byte_level, wordpiece

WORDS = ["[UNK]", "\u2581", "<s>", "</s>", "a", "the", "whale", "ship", "sea"]
PAIRS = [("the whale", "a ship"), ("sea", "the sea the whale"), ("a", ""), ("", "whale")]
SPECIAL = [("<s>", 2), ("</s>", 3)]


def words(processor=None):
    """Whole words, each with a sign of its own before it, so that "a" makes two tokens."""
    tokenizer = Tokenizer(models.WordLevel({word: place for place, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(), pre_tokenizers.Split("\u2581", "isolated")]
    )
    if processor:
        tokenizer.post_processor = processor
    return tokenizer


def template(single, pair):
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=SPECIAL)


TOKENIZERS = {
    "bert": wordpiece(),
    "roberta": byte_level(),
    "bert's own processor": words(processors.BertProcessing(("</s>", 3), ("<s>", 2))),
    "roberta's own processor": words(processors.RobertaProcessing(("</s>", 3), ("<s>", 2))),
    "no processor": words(),
    "only an end": words(template("$A </s>", "$A $B:1 </s>:1")),
    "an end for each": words(template("$A </s>", "$A </s> $B:1 </s>:1")),
    "only a beginning": words(template("<s> $A", "<s> $A $B")),
    "a sequence of processors": words(
        processors.Sequence([processors.ByteLevel(), template("<s> $A </s>", "<s> $A </s> <s> $B </s>")])
    ),
}


def read(tokenizer, text):
    return tokenizer.encode(text, add_special_tokens=False).ids


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request):
    return TOKENIZERS[request.param]


@pytest.mark.parametrize("text", [text for pair in PAIRS for text in pair])
def test_a_text_is_wrapped_as_the_library_wraps_it(tokenizer, text):
    expected = tokenizer.encode(text)
    assert template_of(tokenizer).wrap(read(tokenizer, text)) == (expected.ids, expected.type_ids)


@pytest.mark.parametrize("pair", PAIRS)
def test_a_pair_is_wrapped_as_the_library_wraps_it(tokenizer, pair):
    expected = tokenizer.encode(*pair)
    found = pair_template_of(tokenizer).wrap(*(read(tokenizer, text) for text in pair))
    assert found == (expected.ids, expected.type_ids)


def test_the_size_of_a_template_is_what_it_adds(tokenizer):
    assert template_of(tokenizer).size == len(tokenizer.encode("the")) - len(read(tokenizer, "the"))
    added = len(tokenizer.encode("the", "sea")) - len(read(tokenizer, "the")) - len(read(tokenizer, "sea"))
    assert pair_template_of(tokenizer).size == added


def test_robertas_pairs_have_two_ends_between_them():
    assert pair_template_of(byte_level()) == Template(((0, 0),), ((2, 0), (2, 0)), ((2, 0),), (0, 0))


@pytest.mark.parametrize("find", [template_of, pair_template_of])
@pytest.mark.parametrize(
    ("model", "problem"),
    [(models.WordLevel({"b": 0}), "cannot cut the text"), (models.BPE({"b": 0}, []), "makes no token")],
)
def test_a_tokenizer_that_shows_no_template_is_refused(find, model, problem):
    with pytest.raises(ValueError, match=problem):
        find(Tokenizer(model))
