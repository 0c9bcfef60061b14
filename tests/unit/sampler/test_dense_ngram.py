"""The dense table: equal to the trie for every context, and to itself in every runtime."""

import itertools

import numpy as np
import pytest

from services.common.errors import Reason, ServiceError
from services.common.export import Target, export_graphs
from services.common.runtimes import open_runtime
from services.finetune.recipes import ngram as ngram_recipe
from services.finetune.recipes.version import Corpus
from services.sampler.families import ngram
from services.sampler.ngrams import dense
from services.sampler.ngrams.chain import NgramOptions
from tests.unit.sampler.ngram_models import table


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_every_context_has_its_row(order):
    model = table("ABRACADABRA", order=order)
    chain = model.chain(NgramOptions(order))
    rows = dense.log_probabilities(model.trie)
    contexts = list(itertools.product(range(model.alphabet.size), repeat=order - 1))
    assert rows.shape == (len(contexts), model.alphabet.size)
    for row, context in zip(rows, contexts, strict=True):
        following = chain.following(chain.start(np.array(context, np.int64)))
        expected = np.full(model.alphabet.size, -np.inf)
        expected[following.symbols] = np.log(following.probabilities)
        assert row == pytest.approx(expected)


@pytest.mark.parametrize(("target", "file"), [(Target.ONNX, "model.onnx"), (Target.TORCHSCRIPT, "model.pt")])
def test_exports_equal_the_table(tmp_path, target, file):
    manifest = ngram_recipe.train(Corpus(["abracadabra"]), tmp_path / "abra" / "1", order=3)
    graphs = ngram.graphs(manifest.config, tmp_path / "abra" / "1")
    exported = export_graphs(graphs, tmp_path / "export", target)
    (figures,) = exported.graphs["model"].parity
    assert figures.max_abs_error == 0
    runtime = open_runtime(tmp_path / "export" / file, threads=1, providers=("cpu",))
    after_ab, after_br = runtime.run({"context": np.array([[1, 2], [2, 18]])})["log_probabilities"]
    assert np.flatnonzero(np.exp(after_ab)).tolist() == [18]
    assert np.flatnonzero(np.exp(after_br)).tolist() == [1]
    runtime.close()


def test_what_is_too_large_or_too_small_is_refused(tmp_path):
    manifest = ngram_recipe.train(Corpus(["abracadabra"]), tmp_path / "large" / "1", order=6)
    with pytest.raises(ServiceError, match="cells") as refused:
        ngram.graphs(manifest.config, tmp_path / "large" / "1")
    assert refused.value.reason is Reason.UNSUPPORTED
    manifest = ngram_recipe.train(Corpus(["abracadabra"]), tmp_path / "small" / "1", order=1)
    with pytest.raises(ServiceError, match="no context"):
        ngram.graphs(manifest.config, tmp_path / "small" / "1")
