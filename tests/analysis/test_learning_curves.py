"""Learning curves show what journals say."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch
from stage_files import add_journal, looked, trained

from analysis.collecting.collection import collect
from analysis.figures.learning_curves import MOST, Learning, learning, learning_figure, learning_figures

MakeRun = Callable[..., str]


def found_in(runs: Path) -> list[Learning]:
    collection = collect(runs)
    return learning(collection, [row["run_id"] for row in collection.rows])


def words_of(figure: Figure) -> str:
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    return "\n".join([*texts, *titles, *(text.get_text() for text in figure.legends[0].get_texts())])


def lines_of(axes: Axes) -> list[list[float]]:
    return [[float(y) for y in line.get_ydata()] for line in axes.lines]


@pytest.fixture
def two_seeds(runs: Path, make_run: MakeRun) -> Path:
    for seed, losses in ((0, (3.0, 2.0, 1.0)), (1, (2.0, 1.0))):  # the second has not got to the end
        run = make_run(runs, "faces", "blurry-to-clear", seed, done=seed == 0, epoch=3)
        events = []
        for epoch, loss in enumerate(losses, start=1):
            events += [trained(epoch, loss, 100 - 10 * loss, sigma=[8.0, 4.0, 0.0][epoch - 1])]
            events += [looked(epoch, loss + 0.5, 90 - 10 * loss)]
        add_journal(runs / run, events)
    return runs


def test_thin_lines_are_seeds_and_thick_ones_their_mean_as_far_as_all_go(two_seeds: Path) -> None:
    (one,) = found_in(two_seeds)
    loss, top1, _ = learning_figure([one]).axes
    assert lines_of(loss) == [pytest.approx([3, 2, 1]), pytest.approx([2, 1, math.nan], nan_ok=True), [2.5, 1.5],
                              pytest.approx([3.5, 2.5, 1.5]), pytest.approx([2.5, 1.5, math.nan], nan_ok=True),
                              [3.0, 2.0]]  # fmt: skip
    thin, thick = ([line.get_linewidth() for line in loss.lines][k] for k in (0, 2))
    assert thin < thick
    assert lines_of(top1)[2] == [75, 85] and lines_of(top1)[5] == [65, 75]
    assert loss.get_xlim() == (0, 3)


def test_the_blur_of_each_epoch_stands_under_it(two_seeds: Path) -> None:
    *_, blur = learning_figure(found_in(two_seeds)).axes
    steps = next(patch for patch in blur.patches if isinstance(patch, StepPatch)).get_data()
    assert steps.values.tolist() == [8, 4, 0] and steps.edges.tolist() == [0, 1, 2, 3]
    assert blur.get_xlim() == (0, 3)


def test_seeds_images_and_what_is_not_done_are_said(two_seeds: Path) -> None:
    words = words_of(learning_figure(found_in(two_seeds))).replace("\n", " ")
    assert "2 seeds (1 waiting), train n = 300, val n = 45 at sharp" in words
    assert "mean of the seeds" in words and "blurry-to-clear" in words


def test_of_a_mixture_the_shares_are_drawn(runs: Path, make_run: MakeRun) -> None:
    run = make_run(runs, "faces", "disks", epoch=4)
    shares = [{"sharp": 0.25, "disk-4": 0.75}, {"sharp": 0.5, "disk-4": 0.5}]
    add_journal(runs / run, [trained(k + 1, 1, 50, blurs=shares[k]) for k in (0, 1)])
    *_, blur = learning_figure(found_in(runs)).axes
    tops = {str(band.get_label()): band.get_paths()[0].vertices[:, 1] for band in blur.collections}
    assert list(tops) == ["sharp", "disk-4"]
    assert set(np.round(tops["sharp"], 6)) == {0, 25, 50} and set(np.round(tops["disk-4"], 6)) == {25, 50, 100}
    assert {text.get_text() for text in blur.texts} == {"sharp", "disk-4"}


def test_settings_that_differ_are_other_experiments_and_named(runs: Path, make_run: MakeRun) -> None:
    for rate in (0.001, 0.01):
        run = make_run(runs, "pets", "clear", settings={"optimisation": {"learning_rate": rate}})
        add_journal(runs / run, [trained(1, 1, 50, sigma=0.0)])
    found = found_in(runs)
    assert [one.detail for one in found] == ["optimisation.learning_rate=0.001", "optimisation.learning_rate=0.01"]
    assert [one.seeds for one in found] == [1, 1]


def test_what_was_not_logged_is_said_and_runs_without_a_journal_are_not_drawn(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, "pets", "clear")
    assert found_in(runs) == [] and not [*learning_figures([])]
    run = make_run(runs, "pets", "blurry")
    add_journal(runs / run, [{"event": "epoch", "at": 1, "epoch": 1, "loss": 2.0, "n": 3}])
    (one,) = found_in(runs)
    figure = learning_figure([one])
    assert len(figure.axes) == 2  # no accuracy, which no run has
    assert "not logged" in words_of(figure)


def test_every_dataset_has_its_figure_and_many_experiments_several(runs: Path, make_run: MakeRun) -> None:
    for k in range(MOST + 1):
        run = make_run(runs, "pets", "clear", settings={"optimisation": {"learning_rate": 0.001 * (k + 1)}})
        add_journal(runs / run, [trained(1, 1, 50, sigma=0.0)])
    run = make_run(runs, "faces", "clear")
    add_journal(runs / run, [trained(1, 1, 50, sigma=0.0)])
    titles = [(dataset, title) for dataset, title, _ in learning_figures(found_in(runs))]
    assert titles == [("faces", "alexnet-sup on faces"), ("pets", "alexnet-sup on pets, part 1"),
                      ("pets", "alexnet-sup on pets, part 2")]  # fmt: skip
