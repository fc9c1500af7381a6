"""Errors on the blurs of ImageNet-C as a figure and a table, from run directories."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.collecting.collection import collect
from analysis.figures import corruptions as figures
from analysis.figures.corruptions import corruptions, corruptions_figure
from analysis.statistics.estimates import summary
from blurtrain.evaluation.measures.imagenet_c_blur import ALEXNET, KINDS, LEVEL, SEVERITIES, linear

MakeRun = Callable[..., str]
N = 40


def add(
    run: Path, seed: int, records: bool = True, form: str = "exact", undefined: bool = False
) -> dict[str, np.ndarray]:
    """What the measure writes, of errors at random, the more the severer."""
    rng = np.random.default_rng(seed)
    wrong = {f"error-{family}-{s}": rng.random(N) < 0.15 * s for family in KINDS for s in SEVERITIES}
    values = linear({"error-sharp": rng.random(N) < 0.1, **wrong})
    (accuracy,) = (run / "evaluations").glob("accuracy-*.json")
    document = json.loads(accuracy.read_text()) | {"measure": "imagenet-c-blur", "n": N}
    document.pop("levels", None)
    document |= {"options": {"form": form}} if form != "exact" else {}
    document["rows"] = [
        {"metric": name, "blur": LEVEL, "sigma": None, "n": N}
        | ({"count": int(of.sum())} if of.dtype == bool else {"value": None if undefined else float(of.mean())})
        for name, of in values.items()
    ]
    path = run / "evaluations" / f"imagenet-c-blur-0123abcd{form[0]}.json"
    path.write_text(json.dumps(document))
    if records:
        pd.DataFrame({"blur": LEVEL, "index": range(N), **values}).to_parquet(path.with_suffix(".parquet"))
    return values


def test_the_same_constants_are_drawn_as_are_measured_with() -> None:
    assert figures.ALEXNET == ALEXNET and tuple(KINDS) == figures.FAMILIES and figures.SEVERITIES == SEVERITIES


def test_seeds_are_means_and_totals_have_intervals_over_images(runs: Path, make_run: MakeRun) -> None:
    values = [add(runs / make_run(runs, "pets", "clear", seed), seed) for seed in (0, 1)]
    add(runs / make_run(runs, "pets", "blurry"), 2, records=False)
    (one,) = corruptions(collect(runs), [path.name for path in runs.glob("pets-*")])
    assert (one.dataset, one.form, one.n) == ("pets", "exact", N)
    assert [(curve.regime, curve.seeds) for curve in one.curves] == [("clear", 2), ("blurry", 1)]
    clear, blurry = one.curves
    assert clear.by_family["glass"][3].value == pytest.approx(np.mean([v["error-glass-3"] for v in values]))
    assert clear.sharp.low < clear.sharp.value < clear.sharp.high
    expected = summary(np.stack([v["blur-mCE"] for v in values]))
    assert clear.total == expected and expected.low < expected.value < expected.high
    assert blurry.total.seeds == 1 and np.isnan(blurry.total.low), "nothing is known of its images"
    figure = corruptions_figure(one)
    parts = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(parts) == ["defocus", "glass", "motion", "zoom", "gaussian"]
    line = parts["zoom"].lines[1]
    assert line.get_xdata().tolist() == [0, 1, 2, 3, 4, 5]
    assert line.get_ydata()[2] == pytest.approx(100 * clear.by_family["zoom"][2].value)
    assert parts["zoom"].lines[0].get_ydata()[0] == pytest.approx(79.836)
    assert len(parts["gaussian"].lines) == 2, "AlexNet's error there is not known"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[0].startswith(f"clear: blur-mCE {100 * expected.value:.1f} % (") and " mCE" not in " ".join(labels)
    assert "n = 40 images" in figure.get_supxlabel()


def test_forms_are_apart_and_what_is_undefined_is_said(runs: Path, make_run: MakeRun) -> None:
    run = runs / make_run(runs, "pets", "clear")
    add(run, 0)
    add(run, 1, form="published", undefined=True, records=False)
    exact, published = corruptions(collect(runs), [run.name])
    assert (exact.form, published.form) == ("exact", "published")
    labels = [text.get_text() for text in corruptions_figure(published).legends[0].get_texts()]
    assert labels[0] == "clear: blur-mCE undefined"
    assert not corruptions(collect(runs), ["another"])
