"""Figures of a search: what is drawn where."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from search_folder import SearchFolder

from analysis.figures.style import as_files
from analysis.searches import figures as search_figures
from analysis.searches.trials import Search, searches

MakeRun = Callable[..., str]
RATE, OPTIMISER, MOMENTUM = "optimisation.learning_rate", "optimisation.optimiser", "optimisation.momentum"


@pytest.fixture
def search(runs: Path, make_run: MakeRun) -> Search:
    folder = SearchFolder(runs, make_run, trials=6)
    folder.trial([[10, 12, 14, 16, 20, 22, 24, 26, 30]])
    folder.trial([[2, 4]], {RATE: 1e-2, OPTIMISER: "adam"}, ended="pruned")
    folder.trial([[10, 20, 30, 40, 50, 60, 60, 60, 60]], {RATE: 1e-4, OPTIMISER: "sgd", MOMENTUM: 0.99})
    folder.trial([[5, 5, 6, 7, 8, 9, 9, 9, 9]], {RATE: 5e-4, OPTIMISER: "adam"})
    folder.trial([[1]], {RATE: 2e-3, OPTIMISER: "sgd", MOMENTUM: 0.5}, ended="failed", message="loss is not finite")
    return searches(runs)[0][0]


def lines(axes: Axes, points: int) -> list[list[float]]:
    return [[float(y) for y in line.get_ydata()] for line in axes.lines if len(line.get_xdata()) == points]


def test_parallel_coordinates_have_log_axes_choices_and_gaps(search: Search) -> None:
    figure = search_figures.parallel_figure(search)
    assert figure
    (axes,) = figure.axes
    drawn = lines(axes, 4)  # three dimensions and the objective
    expected = [[0.5, 0, math.nan, 29 / 59], [1, 0, math.nan, 3 / 59], [0, 1, 1, 1],
                [(math.log10(5e-4) + 4) / 2, 0, math.nan, 8 / 59], [(math.log10(2e-3) + 4) / 2, 1, 0, 0]]  # fmt: skip
    assert len(drawn) == len(expected)
    assert all(any(own == pytest.approx(ys, nan_ok=True) for own in drawn) for ys in expected)
    texts = {text.get_text() for text in axes.texts}
    assert {"learning_rate", "log", "choices", "adam", "sgd", "0.0001", "0.01"} <= texts
    alphas = {line.get_alpha() for line in axes.lines if len(line.get_xdata()) == 4}
    assert min(alphas) < 0.5  # the pruned and the failed one
    assert [handle.get_label() for handle in figure.legends[0].legend_handles] == [
        "best: trial 2", "base settings: trial 0", "done", "pruned, or not at its end",
    ]  # fmt: skip


def test_learning_curves_mark_prunings_and_rungs(search: Search) -> None:
    figure = search_figures.learning_figure(search)
    assert figure
    (axes,) = figure.axes
    crosses = [line for line in axes.lines if line.get_marker() == "x"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in crosses] == [([2], [4])]
    assert {text.get_text() for text in axes.texts} == {"rung 2", "rung 6"}
    rungs = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
    assert rungs == [2, 6]
    assert [10, 20, 30, 40, 50, 60, 60, 60, 60] in lines(axes, 9)


def test_the_best_so_far_is_of_those_that_are_done(search: Search) -> None:
    figure = search_figures.progress_figure(search)
    assert figure
    by_trial, by_cost = figure.axes
    steps = [line for line in by_trial.lines if line.get_drawstyle() == "steps-post"]
    assert [(list(line.get_xdata()), list(line.get_ydata())) for line in steps] == [([0, 2, 4], [30, 60, 60])]
    (cost,) = [line for line in by_cost.lines if line.get_drawstyle() == "steps-post"]
    assert list(cost.get_xdata()) == [9, 9 + 2 + 9, 9 + 2 + 9 + 9 + 1]


def test_importance_is_a_bar_a_dimension(search: Search) -> None:
    figure = search_figures.importance_figure(search, {RATE: 0.7, OPTIMISER: 0.1, MOMENTUM: 0.2}, 12)
    (axes,) = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["optimiser", "momentum", "learning_rate"]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([10, 20, 70])
    assert "12 finished trials" in axes.get_xlabel()


def test_nothing_to_draw_is_no_figure(runs: Path, make_run: MakeRun) -> None:
    SearchFolder(runs, make_run).trial([[]], ended="")
    (search,) = searches(runs)[0]
    for draw in (search_figures.parallel_figure, search_figures.learning_figure, search_figures.progress_figure):
        assert draw(search) is None


def test_what_lies_outside_the_space_has_its_place(runs: Path, make_run: MakeRun) -> None:
    folder = SearchFolder(
        runs, make_run, space={RATE: {"uniform": [0.1, 0.2]}, "regime": {"choice": ["clear", "blurry"]}}
    )
    folder.trial([[10]])  # a rate of 0.001
    folder.trial([[20]], {RATE: 0.2})
    figure = search_figures.parallel_figure(searches(runs)[0][0])
    assert figure
    assert all(-1e-9 <= y <= 1 + 1e-9 for ys in lines(figure.axes[0], 3) for y in ys if not math.isnan(y))


def test_the_same_search_gives_the_same_bytes(search: Search) -> None:
    draw = (search_figures.parallel_figure, search_figures.learning_figure, search_figures.progress_figure)
    for one in draw:
        first, second = (as_files(one(search)) for _ in range(2))  # type: ignore[arg-type]
        assert first == second
        assert first["svg"].startswith(b"<?xml")
