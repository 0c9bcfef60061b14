"""Curves of a training, drawn from a version and from a work folder."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from services.finetune.recipes.gan import chart

CURVE = [
    {"step": step, "loss": 1.0 / step, "generator_gradient": 0.1, "kid@peeps-clip-v1": 2.0, "spread": 0.9}
    for step in (100, 200, 300)
]
EVENTS = [
    {"step": 150, "pitfall": "mode_collapse", "what": "alarm", "action": "", "signs": [], "figures": {}},
    {"step": 250, "pitfall": "mode_collapse", "what": "recovered", "action": "", "signs": [], "figures": {}},
]


def lines(values):
    return "".join(f"{json.dumps(each)}\n" for each in values)


@pytest.fixture
def version(tmp_path):
    manifest = {"name": "peeps-gan", "version": "1", "config": {"curve": CURVE, "events": EVENTS}}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_version_is_drawn_to_a_file(version, tmp_path):
    chart.main([str(version), "-o", str(tmp_path / "curves.png")])
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width > 500
        assert picture.getextrema()[0][0] < 200  # something is drawn on the white


def test_a_panel_holds_the_curve_and_a_line_for_each_event(version):
    figure = chart.draw(chart.read(version))
    assert [each.get_title("left") for each in figure.axes] == [
        "loss",
        "length of gradients",
        "variety beside real pictures",
        "kernel distance",
    ]
    loss, *events = figure.axes[0].lines
    assert list(loss.get_xdata()) == [100, 200, 300]
    assert list(loss.get_ydata()) == [0.01, 0.005, 1 / 300]
    assert [each.get_xdata()[0] for each in events] == [150, 250]
    assert figure.axes[3].get_legend_handles_labels()[1] == ["kid@peeps-clip-v1"]


def test_a_work_folder_is_drawn_while_its_training_runs(tmp_path):
    (tmp_path / "curve.jsonl").write_text(lines([CURVE[0], *CURVE[:2]]))  # a step that was done twice
    course = chart.read(tmp_path)
    assert (course.curve, course.events) == (CURVE[:2], [])
    (tmp_path / "events.jsonl").write_text(lines(EVENTS))
    assert chart.read(tmp_path).events == EVENTS


def test_a_folder_without_a_curve_ends_with_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        chart.main([str(tmp_path), "-o", str(tmp_path / "curves.png")])
    assert ended.value.code == 2
    assert "No such file" in capsys.readouterr().err
