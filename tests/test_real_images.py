"""The grids' own recipes on real images and on stand-ins: what `make demo` and configs/grids/small.yaml rest on."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import analysis
from blurtrain.data.preparation import prepare
from blurtrain.data.preparation.readers import Tree
from blurtrain.data.preparation.splits import keep_labels
from blurtrain.documents import merge
from blurtrain.settings import PRESETS, compose
from blurtrain.training.train import train
from jobs.grid import read_grid

SMALL, DEMO = (PRESETS / "grids" / f"{name}.yaml" for name in ("small", "demo"))


@pytest.mark.images
def test_grocery_is_labelled_by_product_and_by_kind(images_root: Path) -> None:
    products = Tree().samples(images_root / "grocery").labelled
    assert len({i.label for i in products}) == 81
    assert Counter(i.split for i in products) == {"train": 2640, "val": 296, "test": 2485}
    kinds = keep_labels(Tree(label=2).samples(images_root / "grocery").labelled, min_leaves=2)
    assert len({i.label for i in kinds}) == 12


@pytest.mark.images
@pytest.mark.slow
def test_a_network_learns_real_faces_and_reports_it(images_root: Path, tmp_path: Path) -> None:
    (grid,) = read_grid(SMALL).grids
    dataset, _ = prepare(tmp_path / "data", "faces", grid.data["faces"], images_root)
    assert len(dataset.classes) == 26 and sum(dataset.manifest["counts"].values()) == 430
    document = {
        "dataset": "faces", "regime": "clear", "data": {"root": str(tmp_path / "data")},
        "optimisation": {"epochs": 12, "batch_size": 20}, "evaluation": {"sigmas": [0, 8]},
    }  # fmt: skip
    train(compose(merge(grid.settings, document), "test"), tmp_path / "runs")
    analysis.report(tmp_path / "runs", tmp_path / "report")
    rows = analysis.load(tmp_path / "runs")
    n = int(rows["n"].iloc[0])
    sharp = rows[rows["sigma"] == 0].iloc[0]
    low, _ = analysis.wilson(int(sharp["top1_count"]), n)
    assert 100 * low > 2 * 100 / 26, "no better than twice chance"
    assert "top1@0,top1@8" in (tmp_path / "report" / "results.csv").read_text()


@pytest.mark.slow
def test_both_toybox_tasks_of_the_demo_share_one_store_and_hold_out_objects(tmp_path: Path) -> None:
    recipes = read_grid(DEMO).data
    instance, _ = prepare(tmp_path, "toybox-instance", recipes["toybox-instance"])
    category, _ = prepare(tmp_path, "toybox-category", recipes["toybox-category"])
    assert instance.manifest["store"] == category.manifest["store"]
    assert (len(instance.classes), len(category.classes)) == (72, 12)
    view = category.view
    for leaf in np.unique(view["leaf"]):
        assert len(np.unique(view["split"][view["leaf"] == leaf])) == 1, "an object is in two splits"
    assert {tuple(np.unique(view["label"][view["split"] == k])) for k in range(3)} == {tuple(range(12))}
