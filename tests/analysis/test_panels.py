"""Which runs are averaged, compared, and kept apart."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from analysis.panels import panels

MakeRun = Callable[..., str]


def test_seeds_of_a_regime_are_one_curve(runs: Path, make_run: MakeRun) -> None:
    for seed, count in enumerate((20, 30)):
        make_run(runs, regime="clear", seed=seed, counts={0.0: count}, n=100)
        make_run(runs, regime="blurry-to-clear", seed=seed, counts={0.0: 60}, n=100)
    (panel,) = panels(analysis.load(runs))
    clear = panel.curve("clear")
    ratio = panel.ratio("blurry-to-clear")
    assert clear and ratio
    assert (clear.points[0.0].value, clear.points[0.0].seeds) == (0.25, 2)
    assert [run.points[0.0].value for run in clear.runs] == [0.2, 0.3]
    middle = ratio.points[0.0]
    assert (middle.value, middle.low, middle.high) == pytest.approx((2.5, 2.0, 3.0))
    assert panel.title == "faces"


def test_ratios_pair_seeds_and_sigmas(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, regime="clear", seed=0, counts={0.0: 20, 8.0: 0}, n=100)
    make_run(runs, regime="clear", seed=1, counts={0.0: 80, 8.0: 10}, n=100)
    make_run(runs, regime="blurry-to-clear", seed=0, counts={0.0: 30, 4.0: 9, 8.0: 5}, n=100)
    make_run(runs, regime="blurry-to-clear", seed=2, counts={0.0: 90, 8.0: 5}, n=100)
    (panel,) = panels(analysis.load(runs))
    ratio = panel.ratio("blurry-to-clear")
    assert ratio and ratio.seeds == (0,)
    assert sorted(ratio.points) == [0.0, 8.0]
    assert ratio.points[0.0].value == pytest.approx(1.5)
    assert math.isnan(ratio.points[8.0].value)
    assert panel.ratio("clear") is None


@pytest.mark.parametrize(
    ("field", "value", "detail"),
    [("model", "resnet-18", "resnet-18"), ("epochs", 90, "90 epochs"), ("resolution", 224, "224 px"),
     ("split", "val", "val"), ("truncate", 2.0, "cut at 2 sigma"),
     ("light", "linear", "blurred as linear light"), ("pixels", "stored", "tested on stored pixels"),
     ("classes", 12, "12 classes")],
)  # fmt: skip
def test_runs_that_are_not_alike_have_panels_of_their_own(
    runs: Path, make_run: MakeRun, field: str, value: object, detail: str
) -> None:
    make_run(runs, regime="clear")
    make_run(runs, regime="blurry-to-clear", **{field: value})
    both = panels(analysis.load(runs))
    assert len(both) == 2
    assert f"faces ({detail})" in [panel.title for panel in both]
    assert not any(panel.ratios for panel in both)


def test_two_runs_of_one_seed_are_neither_averaged_nor_compared(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, regime="clear", counts={0.0: 10})
    make_run(runs, regime="clear", counts={0.0: 50})
    make_run(runs, regime="blurry-to-clear", counts={0.0: 50})
    (panel,) = panels(analysis.load(runs))
    assert panel.clashes == ("clear",)
    assert [(c.regime, c.points[0.0].seeds) for c in panel.curves] == [("clear", 1)] * 2 + [("blurry-to-clear", 1)]
    assert panel.ratios == ()
    assert panel.curve("clear") is None


def test_chance_and_share_of_the_largest_class(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    (panel,) = panels(analysis.load(runs))
    assert (panel.chance, panel.largest_class, panel.images) == (1 / 26, 25 / 86, "86")
