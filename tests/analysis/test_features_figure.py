"""The figures of features show what was kept and measured, of runs that were measured alike."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import AxesImage
from measured_runs import images, measured, sigma_of

import analysis
from analysis.collecting.invariance import invariances
from analysis.figures.features import examples_figure, families, lines_figure, maps_figure, strongest
from analysis.tabulation.specs import table_specs
from analysis.tabulation.tables import table, tables
from blurtrain.evaluation.arrays import with_arrays

MakeRun = Callable[..., str]
LEVELS = ("sharp", "disk-4@384", "disk-8@384")
RIGHT = {blur: images(30) for blur in LEVELS}
METRICS = {"hamming": {"label": "Hamming distance", "unit": "%", "times": 100, "digits": 1, "better": "lower"}}
PRETRAINED = {"network": {"pretrained": {"published": "torchvision/vgg16", "head": "kept"}}}


def kept(runs: Path, run_id: str, most: float, records: bool = False, objects: int = 0, **header: Any) -> None:
    """What the measure leaves of two stages: Hamming distance rises to `most`, CKA falls as much."""
    (path,) = (runs / run_id / "evaluations").glob("accuracy-0123abcd.json")
    document = json.loads(path.read_text()) | {"measure": "features", "metrics": METRICS} | header
    arrays: dict[str, dict[str, Any]] = {}
    document["rows"], tables = [], []
    for k, blur in enumerate(LEVELS):
        about = {"blur": blur, "sigma": sigma_of(blur), "n": 50}
        arrays[blur] = {"examples": np.full((2, 16, 16, 3), 50 * k, np.uint8), "examples.index": np.array([0, 25])}
        table = {"blur": blur, "index": range(50)}
        if objects:
            table["object"] = np.arange(50) % objects
        for s in (1, 2):
            value = s * k * most / 4
            document["rows"] += [{"metric": f"hamming.stage{s}", "value": value, **about},
                                 {"metric": f"cka.stage{s}", "value": 1 - value, **about}]  # fmt: skip
            arrays[blur][f"hamming.stage{s}"] = np.full((8 // s, 8 // s), value, np.float32)
            arrays[blur][f"hamming.stage{s}.examples"] = np.stack([arrays[blur][f"hamming.stage{s}"]] * 2)
            table[f"hamming.stage{s}"] = value + np.resize([-0.01, 0.01], 50)
        tables.append(pd.DataFrame(table))
    new = path.with_name("features-0123abcd.json")
    new.write_text(json.dumps(document))
    new.with_suffix(".npz").write_bytes(with_arrays(new.with_suffix(".npz"), arrays))
    if records:
        pd.concat(tables).to_parquet(new.with_suffix(".parquet"))


@pytest.fixture
def runs(tmp_path: Path, make_run: MakeRun) -> Path:
    """An untrained network, one regime of two seeds, one of one seed with records."""
    folder = tmp_path / "runs"
    folder.mkdir()
    kept(folder, measured(folder, make_run, RIGHT, "original", settings=PRETRAINED, epoch=0), 0.8)
    for seed, most in ((0, 0.4), (1, 0.6)):
        kept(folder, measured(folder, make_run, RIGHT, "blurry", seed, settings=PRETRAINED), most)
    kept(folder, measured(folder, make_run, RIGHT, "clear", 0, settings=PRETRAINED), 0.2, records=True)
    return folder


def found(runs: Path) -> list[Any]:
    collected = analysis.collect(runs)
    return list(invariances(collected, [row["run_id"] for row in collected.rows]))


def test_images_of_one_object_are_not_independent(tmp_path: Path, make_run: MakeRun) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    kept(folder, measured(folder, make_run, RIGHT, settings=PRETRAINED), 0.2, records=True, objects=10)
    (one,) = found(folder)
    assert one.networks[0].values["hamming"]["stage2"]["disk-8@384"].over == "objects"


def test_regimes_stand_side_by_side_the_untrained_first(runs: Path) -> None:
    (one,) = found(runs)
    assert (one.dataset, one.n, one.stages, one.levels) == ("faces", 50, ("stage1", "stage2"), LEVELS)
    assert [own.name for own in one.networks] == ["original", "clear", "blurry"]
    assert [own.seeds for own in one.networks] == [(0,), (0,), (0, 1)]
    at = [own.values["hamming"]["stage2"]["disk-8@384"] for own in one.networks]
    assert [point.value for point in at] == pytest.approx([0.8, 0.2, 0.5])
    assert [point.over for point in at] == ["images", "images", "seeds"]
    assert np.isnan(at[0].low) and 0.19 < at[1].low < 0.2 < at[1].high < 0.21, "of images where there are records"
    assert at[2].low < 0.4 and at[2].high > 0.6
    assert one.networks[2].maps["stage2"]["disk-8@384"] == pytest.approx(np.full((4, 4), 0.5))


def test_maps_have_one_scale_of_colours(runs: Path) -> None:
    (one,) = found(runs)
    figure = maps_figure(one, "disk-8@384")
    assert figure
    drawn = [image for axes in figure.axes for image in axes.get_children() if isinstance(image, AxesImage)]
    assert [float(np.asarray(image.get_array()).mean()) for image in drawn] == pytest.approx([40, 80, 10, 20, 25, 50])
    assert all(image.get_clim() == pytest.approx((0, 80)) for image in drawn)
    assert [axes.get_title() for axes in figure.axes[:2]] == ["stage1", "stage2"]
    assert "n = 50 images" in figure.get_suptitle()
    assert maps_figure(one, "shake") is None


def test_single_images_stand_beside_their_maps(runs: Path) -> None:
    (one,) = found(runs)
    figure = examples_figure(one, "disk-4@384")
    assert figure
    grid = np.array(figure.axes[:18]).reshape(6, 3)  # two images by three networks
    pictures = [np.asarray(axes.images[0].get_array()) for axes in grid[:, 0]]
    assert all((picture == 50).all() for picture in pictures)
    assert [float(np.asarray(axes.images[0].get_array()).mean()) for axes in grid[:3, 2]] == pytest.approx(
        [40, 10, 20]
    ), "of the first seed"


def test_lines_go_from_sharp_to_the_largest(runs: Path) -> None:
    (one,) = found(runs)
    figure = lines_figure(one, "disk-*@384")
    assert figure
    hamming, cka = figure.axes[1], figure.axes[3]
    blurry = next(line for line in hamming.lines if line.get_color() == "#009E73")
    assert np.asarray(blurry.get_xydata()).tolist() == pytest.approx(np.array([[0, 0], [4, 25], [8, 50]]))
    assert [float(np.asarray(line.get_ydata())[-1]) for line in cka.lines] == pytest.approx([0.2, 0.8, 0.5])
    (legend,) = figure.legends
    said = [text.get_text() for text in legend.get_texts()]
    assert "95 % over seeds, same images" in said and "95 % over images, one seed" in said
    assert "n = 50 images, 1–2 seeds" in legend.get_title().get_text()
    assert figure.get_supxlabel() == "radius of the test blur (disk; pixels at 384 px)"


def test_what_was_measured_otherwise_stands_apart(runs: Path, make_run: MakeRun) -> None:
    run_id = measured(runs, make_run, RIGHT, "fading", 0, settings=PRETRAINED)
    kept(runs, run_id, 0.1, options={"scales": [64]})
    other, one = sorted(found(runs), key=lambda found: len(found.networks))
    assert other.title == "faces (features[scales=[64]])" and len(other.networks) == 1
    assert [own.name for own in other.networks] == ["fading"] and len(one.networks) == 3


def test_families_of_blurs() -> None:
    levels = ["sharp", "gaussian-2", "gaussian-0.5", "disk-4", "box-4-90@384", "box-8-90@384", "shake", "defocus-3",
              "imagenet-c-gaussian-3", "imagenet-c-gaussian-5", "mine:Blur-radius=3"]  # fmt: skip
    assert families(levels) == {
        "gaussian-*": {0: "sharp", 0.5: "gaussian-0.5", 2: "gaussian-2"},
        "box-*-90@384": {0: "sharp", 4: "box-4-90@384", 8: "box-8-90@384"},
        "imagenet-c-gaussian-*": {0: "sharp", 3: "imagenet-c-gaussian-3", 5: "imagenet-c-gaussian-5"},
    }
    assert families(["disk-4", "shake"]) == {}
    assert strongest(levels) == "disk-4" and strongest(["disk-2", "disk-10", "shake"]) == "disk-10"
    assert strongest(["sharp", "shake"]) == "shake"


def test_the_table_is_of_stages(runs: Path) -> None:
    (spec,) = (spec for spec in table_specs() if spec.name == "features")
    (ready,) = tables([spec], runs)
    assert [column.label for column in ready.columns][:3] == ["Hamming 1", "Hamming 2", "Hamming 3"]


def test_what_is_said_of_a_metric_is_of_its_stages(runs: Path) -> None:
    found = table({"rows": "regime", "columns": "blur", "metric": "hamming.stage2"}, runs).facts["hamming.stage2"]
    assert (found.heading, found.times, found.better) == ("Hamming distance, stage2 (%)", 100, "lower")
