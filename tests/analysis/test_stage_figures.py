"""Figures of stages, and of all datasets on one axis, show what was measured."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from stage_files import add_stage

import analysis
from analysis.figures.datasets import datasets_figure
from analysis.figures.stages import stage_ratio_figure, stages, stages_figure
from analysis.figures.style import MOST_LINES, dataset_looks
from analysis.panels import Panel, panels

MakeRun = Callable[..., str]


def values(axes: Axes, marked: bool = True) -> list[tuple[list[float], list[float]]]:
    lines = [line for line in axes.lines if (line.get_marker() != "None") == marked]
    return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in lines]


def legend_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown(runs: Path) -> list[Panel]:
    return panels(analysis.load(runs))


@pytest.fixture
def kept(runs: Path, make_run: MakeRun) -> Path:
    """Two datasets, clear and blurry-to-clear, after 20, 40 and 60 of 60 epochs at sigma 0 and 8."""
    for dataset in ("faces", "pets"):
        for regime, start in (("clear", 10), ("blurry-to-clear", 20)):
            run = make_run(runs, dataset, regime, counts={0.0: start + 40, 8.0: start + 4})
            for epoch in (20, 40):
                add_stage(runs / run, epoch, {0.0: start + epoch // 2, 8.0: start + epoch // 20})
    return runs


def test_levels_measured_at_several_epochs_are_stages(kept: Path) -> None:
    faces, pets = stages(shown(kept))
    assert (faces.title, pets.title) == ("faces", "pets")
    assert list(faces.panels) == [20, 40, 60] and faces.epochs == 60 and faces.sigmas() == [0, 8]


def test_one_stage_is_none(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    assert stages(shown(runs)) == [] and stage_ratio_figure([]) is None


def test_stage_curves_are_what_was_measured(kept: Path) -> None:
    figure = stages_figure(stages(shown(kept))[0])
    clear, b2c = figure.axes
    assert values(clear) == [
        ([20, 40, 60], pytest.approx([100 * c / 86 for c in (20, 30, 50)])),
        ([20, 40, 60], pytest.approx([100 * c / 86 for c in (11, 12, 14)])),
    ]
    assert values(b2c)[1] == ([20, 40, 60], pytest.approx([100 * c / 86 for c in (21, 22, 24)]))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["clear", "blurry-to-clear"]
    assert all("n = 86 images, 1 seed" in axes.texts[0].get_text() for axes in figure.axes)
    assert legend_of(figure)[:2] == ["sigma 0", "sigma 8"]
    low, high = clear.collections[0].get_segments()[0][:, 1]
    assert [low, high] == pytest.approx([100 * x for x in analysis.wilson(20, 86)])


def test_ratios_over_stages_of_all_datasets_are_on_one_axis(kept: Path) -> None:
    figure = stage_ratio_figure(stages(shown(kept)))
    assert figure
    sharp, blurred = figure.axes
    assert (sharp.get_title(loc="left"), blurred.get_title(loc="left")) == ("sharp", "sigma 8")
    expected = ([20, 40, 60], pytest.approx([30 / 20, 40 / 30, 60 / 50]))
    assert values(sharp) == [expected, expected]
    assert values(blurred)[0][1] == pytest.approx([21 / 11, 22 / 12, 24 / 14])
    assert legend_of(figure)[:2] == ["faces: n = 86, 1 seed", "pets: n = 86, 1 seed"]


def test_datasets_of_other_lengths_share_an_axis_in_percent(kept: Path, make_run: MakeRun) -> None:
    for regime in ("clear", "blurry-to-clear"):
        run = make_run(kept, "imagenet-12", regime, counts={0.0: 40}, epoch=10)
        add_stage(kept / run, 5, {0.0: 20})
    figure = stage_ratio_figure(stages(shown(kept)))
    assert figure
    assert [xs for xs, _ in values(figure.axes[0])] == [
        pytest.approx([100 / 3, 200 / 3, 100]),
        [50, 100],
        pytest.approx([100 / 3, 200 / 3, 100]),
    ]


def test_a_stage_without_a_ratio_is_a_gap(runs: Path, make_run: MakeRun) -> None:
    for regime, right in (("clear", 10), ("blurry-to-clear", 0)):
        run = make_run(runs, "pets", regime, counts={0.0: 30})
        add_stage(runs / run, 20, {0.0: right})
        add_stage(runs / run, 40, {0.0: 20})
    figure = stage_ratio_figure(stages(shown(runs)))
    assert figure
    assert values(figure.axes[0])[0][1] == pytest.approx([math.nan, 1, 1], nan_ok=True)


def test_all_datasets_on_one_axis_beside_the_published_ratios(kept: Path) -> None:
    final = [panel for panel in shown(kept) if panel.conditions["epoch"] == panel.epochs]
    figure = datasets_figure(final)
    assert figure
    (axes,) = figure.axes
    assert values(axes) == [([0, 8], pytest.approx([60 / 50, 24 / 14]))] * 2
    theirs = analysis.published("b2c_accuracy_vs_sigma").query("dataset == 'faces' and sigma_px_at_224 <= 8")
    curves = {regime: rows["top1_percent"].to_numpy() for regime, rows in theirs.groupby("regime")}
    published = [ys for xs, ys in values(axes, marked=False) if len(xs) == 9]
    assert published == [pytest.approx(list(curves["blurry-to-clear"] / curves["clear"]))]
    assert legend_of(figure)[-1] == "published: Jenkins et al. 2025, 224 px"
    assert axes.get_title(loc="left") == "blurry-to-clear / clear"
    assert datasets_figure(final[:1]) is None


def test_more_lines_than_an_eye_can_follow_are_not_drawn(runs: Path, make_run: MakeRun) -> None:
    for k in range(MOST_LINES + 1):
        for regime in ("clear", "blurry-to-clear"):
            run = make_run(runs, f"set-{k}", regime)
            add_stage(runs / run, 20, {0.0: 30, 8.0: 3})
    every = shown(runs)
    final = [panel for panel in every if panel.conditions["epoch"] == panel.epochs]
    assert datasets_figure(final) is None and stage_ratio_figure(stages(every)) is None
    assert datasets_figure(final[1:]) and stage_ratio_figure(stages(every)[1:])


def test_lines_of_datasets_are_told_apart_without_colour() -> None:
    def kinds(names: Sequence[str]) -> set[tuple[str, str]]:
        return {(str(look["linestyle"]), look["marker"]) for look in dataset_looks(names).values()}

    study = ["faces", "toybox-instance", "toybox-category", "imagenet-12", "imagenet-100"]
    others = [f"other-{k}" for k in range(6)]
    assert len(kinds(study)) == 5 and len(kinds([*study, *others])) == 11
    assert dataset_looks(["faces"])["faces"] == dataset_looks(others + study)["faces"]
