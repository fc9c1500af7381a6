"""Which runs are averaged, compared, and kept apart."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

import analysis
from analysis.panels import panels
from analysis.statistics.estimates import accuracy, accuracy_ratio

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
    # Ratios of 3 and 2: their geometric mean; the interval is over seeds and images.
    assert (middle.value, middle.sd) == pytest.approx((6**0.5, 1.5**0.5**0.5))
    assert middle == accuracy_ratio([60, 60], [100] * 2, [20, 30], [100] * 2)
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
    ("difference", "detail"),
    [({"settings": {"model": "resnet-18"}}, "resnet-18"), ({"epoch": 90}, "optimisation.epochs=90"),
     ({"resolution": 224}, "data.resolution=224"), ({"split": "val"}, "val split"),
     ({"truncate": 2.0}, "blur.truncate=2"), ({"light": "linear"}, "blur.linear_light=true"),
     ({"drop_last": True}, "drop_last=true"), ({"pixels": "stored"}, "tested on stored pixels"),
     ({"settings": {"optimisation": {"learning_rate": 1e-4}}}, "optimisation.learning_rate=0.0001"),
     ({"settings": {"augmentation": {"crop_scale": [0.2, 1]}}}, "augmentation.crop_scale=[0.2, 1]"),
     ({"settings": {"network": {"pretrained": {"file": "w.pt", "sha256": "a" * 64}}}},
      f"network.pretrained.sha256={'a' * 64}, network.pretrained.last_layer=drawn, network.pretrained.head=replaced"),
     ({"data": "another"}, "data another"), ({"classes": 12}, "12 classes")],
)  # fmt: skip
def test_runs_that_are_not_alike_have_panels_of_their_own(
    runs: Path, make_run: MakeRun, difference: dict[str, object], detail: str
) -> None:
    make_run(runs, regime="clear")
    make_run(runs, regime="blurry-to-clear", seed=1, **difference)
    make_run(runs, regime="clear", seed=2, **difference)
    both = panels(analysis.load(runs))
    assert len(both) == 2
    assert f"faces ({detail})" in [panel.title for panel in both]
    assert not any(panel.ratios for panel in both)
    assert all(len(curve.seeds) == 1 for panel in both for curve in panel.curves)


def test_three_seeds_with_three_learning_rates_are_three_rows(runs: Path, make_run: MakeRun) -> None:
    for seed, rate in enumerate((1e-2, 1e-3, 1e-4)):
        make_run(runs, seed=seed, settings={"optimisation": {"learning_rate": rate}})
    shown = panels(analysis.load(runs))
    assert [panel.title for panel in shown] == [
        f"faces (optimisation.learning_rate={rate})" for rate in ("0.0001", "0.001", "0.01")
    ]
    assert [[curve.seeds for curve in panel.curves] for panel in shown] == [[(2,)], [(1,)], [(0,)]]


def test_curricula_that_a_name_does_not_tell_apart_are_curves_of_their_own(runs: Path, make_run: MakeRun) -> None:
    for seed in (0, 1):
        make_run(runs, regime="mild", seed=seed, settings={"curriculum": {"sigma": 1}})
    make_run(runs, regime="mild", seed=2, settings={"curriculum": {"sigma": 2}})
    (panel,) = panels(analysis.load(runs))
    assert [(curve.regime, curve.seeds) for curve in panel.curves] == [
        ("mild (curriculum.sigma=1)", (0, 1)), ("mild (curriculum.sigma=2)", (2,)),
    ]  # fmt: skip


def test_one_run_under_two_names_counts_once(runs: Path, make_run: MakeRun) -> None:
    make_run(runs, regime="blurry", counts={0.0: 10})
    copy = make_run(runs, regime="clear", counts={0.0: 10}, settings={"curriculum": {"sigma": 8}})
    (panel,) = panels(analysis.load(runs))
    assert panel.copies == (copy,)
    assert [(curve.regime, curve.points[0.0].seeds) for curve in panel.curves] == [("blurry", 1)]


def test_a_cell_is_of_the_seeds_that_were_measured_there(runs: Path, make_run: MakeRun) -> None:
    for seed, counts in enumerate(({0.0: 20, 4.0: 30}, {0.0: 40}, {0.0: 60})):
        make_run(runs, seed=seed, counts=counts, n=100)
    (panel,) = panels(analysis.load(runs))
    (curve,) = panel.curves
    assert {sigma: (point.value, point.seeds, point.over) for sigma, point in curve.points.items()} == {
        0.0: (pytest.approx(0.4), 3, "seeds and images"), 4.0: (0.3, 1, "images"),
    }  # fmt: skip
    assert (list(curve.whole), list(curve.partial)) == ([0.0], [4.0])


def test_images_of_one_object_are_not_taken_as_independent(runs: Path, make_run: MakeRun) -> None:
    objects = [[20] * 5, [20, 20, 0, 10, 0], [20, 20, 10, 10, 0]]
    make_run(runs, counts={0.0: 50, 8.0: 60}, objects=objects, n=100)
    make_run(runs, regime="blurry-to-clear", counts={0.0: 60, 8.0: 50}, objects=[*objects[::2], objects[1]], n=100)
    (panel,) = panels(analysis.load(runs))
    clear, ratio = panel.curve("clear"), panel.ratio("blurry-to-clear")
    assert clear and ratio
    point = clear.points[0.0]
    assert point == accuracy([50], [100], [objects[1]], objects[0]) and point.over == "objects"
    assert (ratio.points[0.0].over, ratio.points[0.0].value) == ("objects", pytest.approx(1.2))
    by_object = ([objects[2]], [objects[1]])
    assert ratio.points[0.0] == accuracy_ratio([60], [100], [50], [100], by_object, objects[0])
    assert ratio.points[0.0].low < 1.2 < ratio.points[0.0].high


def test_seeds_on_objects_have_an_interval_over_both(runs: Path, make_run: MakeRun) -> None:
    sizes, right = [20] * 5, ([20, 20, 0, 10, 0], [20, 10, 10, 20, 0])
    for seed, of_seed in enumerate(right):
        make_run(runs, seed=seed, counts={0.0: sum(of_seed)}, objects=[sizes, of_seed], n=100)
    (panel,) = panels(analysis.load(runs))
    point = panel.curves[0].points[0.0]
    assert point == accuracy([50, 60], [100, 100], right, sizes) and point.over == "seeds and objects"


def test_chance_and_share_of_the_largest_class(runs: Path, make_run: MakeRun) -> None:
    make_run(runs)
    (panel,) = panels(analysis.load(runs))
    assert (panel.chance, panel.largest_class, panel.n) == (1 / 26, 25 / 86, 86)
