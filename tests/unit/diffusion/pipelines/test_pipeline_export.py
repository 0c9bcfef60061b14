"""Networks of pipelines as graphs: the common exporter compares them with eager at other numbers of rows."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # theirs

from services.common.export import Target, export_graphs  # noqa: E402
from services.common.runtimes import open_runtime  # noqa: E402
from services.diffusion.engine import Prompts, Question  # noqa: E402
from services.diffusion.pipelines.exporting import graphs  # noqa: E402
from tests.unit.diffusion.pipelines import tiny  # noqa: E402

ONE_BLOCK = {
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
    "block_out_channels": (16,),
}
MAKERS = {"small": partial(tiny.stable, **ONE_BLOCK), "stable": tiny.stable, "xl": tiny.xl, "flux": tiny.flux}
"""To trace a network takes its time with the number of its blocks."""


@pytest.mark.parametrize(
    ("name", "target"),
    [
        ("small", Target.ONNX),
        pytest.param("stable", Target.ONNX, marks=pytest.mark.slow),
        pytest.param("flux", Target.ONNX, marks=pytest.mark.slow),
        pytest.param("stable", Target.TORCHSCRIPT, marks=pytest.mark.slow),
        pytest.param("xl", Target.ONNX, marks=pytest.mark.slow),
    ],
)
def test_an_exported_network_says_what_the_pipeline_says(tmp_path, name, target):
    folder = tiny.saved(MAKERS[name](), tmp_path / "pipeline")
    model = tiny.opened(folder)
    made = graphs(folder, (8, 8))
    (graph,) = made
    assert graph == ("transformer" if name == "flux" else "unet")
    made = {graph: dataclasses.replace(made[graph], sizes={"batch": (1, 5, 70)})}  # diffusers branches at 64
    manifest = export_graphs(made, tmp_path / "out", target)
    assert [size["batch"] for size in manifest.graphs[graph].sizes_tried] == [2, 1, 5, 70]
    texts = [model.read(Prompts(each), 16, 16, 3.5).told for each in (tiny.PROMPT, tiny.NEGATIVE, "a beard")]
    samples = np.random.default_rng(1).standard_normal((3, 4, 8, 8)).astype(np.float32)
    timesteps = np.array([999.0, 400.5, 3.0], np.float32)
    inputs = {each: np.stack([text.inputs[each] for text in texts]) for each in texts[0].inputs}
    runtime = open_runtime(tmp_path / "out" / manifest.graphs[graph].file, threads=1, providers=("cpu",))
    said = runtime.run({"sample": samples, "timestep": timesteps, **inputs})["prediction"]
    runtime.close()
    asked = [Question(*each) for each in zip(samples, timesteps, texts, strict=True)]
    np.testing.assert_allclose(said, np.stack(model.denoiser.predict(asked)), atol=1e-4)
