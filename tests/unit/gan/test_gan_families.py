"""Every family: three graphs in both formats that say what eager says; rows that no company changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from services.common.export.manifest import Target, read_export
from services.common.export.run import write_export
from services.common.families import names
from services.common.runtimes import open_runtime
from services.gan import families
from services.gan.families.dcgan import Config as DcganConfig
from services.gan.families.dcgan import Generator as Dcgan
from services.gan.loading.files import JUDGE, MAPPING, SYNTHESIS
from services.gan.onnx.rows import ExactRows
from services.gan.torch.graphs import graphs_of
from services.gan.torch.networks import generator_of
from tests.unit.gan.gan_models import CONFIGS, write_version

pytestmark = pytest.mark.timeout(900)  # exports take minutes where many share the cores
TOLERANCE = 2e-5
SIZES = ("size", "latent", "attributes", "width", "layers", "noise")


def _silent(done, total, message):
    """Nobody watches."""


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def version(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return request.param, write_version(folder, request.param), folder


@pytest.fixture(scope="module", params=[Target.ONNX, Target.TORCHSCRIPT], ids=str)
def exported(version, tmp_path_factory, request) -> Path:
    family, config, folder = version
    out = tmp_path_factory.mktemp("exported")
    write_export(graphs_of(family, config, folder), out, request.param, name="tiny", report=_silent)
    return out


def test_all_families_are_tried():
    assert names(families) == sorted(CONFIGS)


@pytest.mark.parametrize("family", sorted(CONFIGS))
def test_a_family_has_the_names_of_the_contract(family):
    config = CONFIGS[family]
    assert all(isinstance(getattr(config, each), int) for each in SIZES)
    with pytest.raises(ValueError, match="no widths for 33 pixels"):
        type(config)(size=33)


def test_three_files_with_their_parity(exported):
    manifest = read_export(exported)
    assert sorted(manifest.graphs) == sorted((MAPPING, SYNTHESIS, JUDGE))
    assert len({graph.file for graph in manifest.graphs.values()}) == 3
    for graph in manifest.graphs.values():
        assert (exported / graph.file).is_file()
        assert all(figure.max_abs_error <= figure.tolerance for figure in graph.parity)
        assert {each["batch"] for each in graph.sizes_tried} >= {1, 3, 7}


def test_each_graph_says_what_eager_says_and_rows_keep_to_themselves(exported, version):
    family, config, folder = version
    specs = graphs_of(family, config, folder)
    for name, graph in read_export(exported).graphs.items():
        rows = ExactRows(open_runtime(exported / graph.file, threads=1), graph.outputs[0].name, 4)
        chance = np.random.default_rng(1)
        feeds = {
            each: chance.standard_normal((60, *tensor.shape[1:])).astype(np.float32)
            for each, tensor in specs[name].example_inputs.items()
        }
        rows.settle(feeds)
        feeds = {each: chance.permutation(value)[:7] for each, value in feeds.items()}
        together = rows.run(feeds)
        with torch.no_grad():
            eager = specs[name].module(**{each: torch.from_numpy(value) for each, value in feeds.items()})
        np.testing.assert_allclose(together, eager, atol=TOLERANCE, rtol=TOLERANCE)
        for row in range(7):
            alone = rows.run({each: value[row : row + 1] for each, value in feeds.items()})
            if read_export(exported).target is Target.ONNX:  # what serves
                assert np.array_equal(alone[0], together[row]), f"{name}, row {row}"
            np.testing.assert_allclose(alone[0], together[row], atol=TOLERANCE, rtol=TOLERANCE)
        rows.close()


def test_weights_of_another_size_are_refused(version, tmp_path):
    family, config, folder = version
    other = {**config, family: {**config[family], "latent": 9}}
    with pytest.raises(ValueError, match=r"generator.safetensors does not fit the configuration"):
        generator_of(family, other, folder)
    with pytest.raises(ValueError, match=r"has no '.*' with the networks' sizes"):
        generator_of(family, {}, folder)


def test_a_dcgan_of_64_pixels_is_small_and_paints_from_minus_one_to_one():
    generator = Dcgan(DcganConfig()).eval()
    assert sum(map(torch.numel, generator.parameters())) < 4_000_000
    with torch.no_grad():
        made = generator(torch.randn(2, 128))
    assert made.shape == (2, 3, 64, 64)
    assert made.abs().max() <= 1


def test_a_dcgans_latent_vector_counts_by_its_direction_alone():
    generator = Dcgan(CONFIGS["dcgan"]).eval()
    z = torch.randn(2, 8)
    with torch.no_grad():
        torch.testing.assert_close(generator(z), generator(5 * z), atol=1e-5, rtol=1e-5)
        assert not torch.allclose(generator(z), generator(-z))
