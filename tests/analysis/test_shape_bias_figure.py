"""Shape bias as a figure."""

import json
from collections.abc import Callable
from pathlib import Path

from analysis.collecting.collection import collect
from analysis.figures.shape_bias import decisions, shape_bias_figure
from analysis.statistics.intervals import wilson

MakeRun = Callable[..., str]


def add(run: Path, shape: int, texture: int) -> None:
    (accuracy,) = (run / "evaluations").glob("accuracy-*.json")
    document = json.loads(accuracy.read_text()) | {"measure": "shape-bias", "options": {"folder": "cues"}}
    document.pop("levels", None)
    about = {"blur": "cue-conflict", "sigma": None, "n": 60}
    total = shape + texture
    document["rows"] = [{"metric": "shape_bias", **about, "value": shape / total if total else None}] + [
        {"metric": name, **about, "count": count}
        for name, count in (("shape", shape), ("texture", texture), ("neither", 60 - total))
    ]
    (run / "evaluations" / "shape-bias-0123abcd.json").write_text(json.dumps(document))


def test_a_point_a_run_with_its_interval(runs: Path, make_run: MakeRun) -> None:
    for regime, seed, counts in (("blurry", 0, (30, 10)), ("clear", 0, (10, 30)), ("clear", 1, (0, 0))):
        add(runs / make_run(runs, "pets", regime, seed), *counts)
    ((about, some),) = decisions(collect(runs), [path.name for path in runs.glob("pets-*")]).items()
    assert about == ("pets", "alexnet-sup", "shape-bias[folder=cues]")
    assert [(one.regime, one.seed, one.shape, one.texture) for one in some] == [
        ("clear", 0, 10, 30), ("clear", 1, 0, 0), ("blurry", 0, 30, 10),
    ]  # fmt: skip
    (axes,) = shape_bias_figure(*about[:2], some).axes
    points = [float(line.get_xdata()[0]) for line in axes.lines if line.get_linestyle() == "None"]
    assert points == [25, 75], "no decision, no point"
    drawn = [100 * limit for limit in wilson(10, 40)]
    assert axes.collections[0].get_segments()[0][:, 0].tolist() == drawn
    assert [text.get_text() for text in axes.get_yticklabels()] == ["clear", "blurry"]
    assert not decisions(collect(runs), [])
