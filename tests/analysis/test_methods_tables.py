"""Tables of methods: every method beside blur augmentation at equal compute, from runs as their grids declare them."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import analysis
from blurtrain.documents import merge
from blurtrain.settings import PRESETS, compose
from jobs.grid import Grid, read_grid

MakeRun = Callable[..., str]
PASSES = {"restorer": 2, "clear": 2, "frontend": 2, "blur-consistency": 2, "feature-distance": 2,
          "supervised-contrastive": 2, "proposed-kernel": 2, "adversarial-kernel": 5}  # fmt: skip
"""Of each training image in an epoch, where not one; the two of the front-end have half of the budget each."""


def settings_of(grid: Grid, regime: str) -> dict[str, Any]:
    settings: dict[str, Any] = dict(grid.settings)
    for rule in (rule for rule in grid.where if rule.match == {"regime": regime}):
        settings = merge(settings, rule.settings)
    return settings


def measure(run: Path, settings: Mapping[str, Any], right: int, deblur: str) -> None:
    """What evaluation would write of one run by one method of deblurring: so many of 86 images at each blur."""
    about = {"measure": "accuracy", "split": settings["evaluation"]["split"], "n": 86, "classes": 26,
             "largest_class": 25, "epoch": settings["optimisation"]["epochs"], "reference_resolution": 224,
             "resolution": settings["data"]["resolution"], "truncate": 4.0, "light": "sRGB", "pixels": "source",
             "objects": None, "deblur": deblur}  # fmt: skip
    rows = [
        {"metric": metric, "blur": blur, "sigma": None, "n": 86, "count": right}
        for blur in settings["evaluation"]["blurs"]
        for metric in ("top1", "top5")
    ]
    name = f"accuracy-{deblur.encode().hex()[:8]}.json"
    (run / "evaluations" / name).write_text(json.dumps({**about, "rows": rows}))


@pytest.mark.parametrize("name", ["methods", "methods-small"])
def test_each_method_is_compared_with_augmentation_at_equal_compute(name: str, runs: Path, make_run: MakeRun) -> None:
    (grid,) = read_grid(PRESETS / "grids" / f"{name}.yaml").grids
    (dataset,), budgets = grid.axes["dataset"], set()
    processes = grid.resources.get("nodes", 1) * grid.resources.get("gpus", 1)
    for k, regime in enumerate(grid.axes["regime"]):
        settings = settings_of(grid, regime)
        epochs = settings["optimisation"]["epochs"]
        budgets.add(epochs * PASSES.get(regime, 1))
        loss = compose({"dataset": dataset, "regime": regime, **settings}, regime).loss
        assert not loss.check_batch(settings["optimisation"]["batch_size"] // processes), regime
        if regime == "restorer":
            continue
        for seed in grid.axes["seed"]:
            run = runs / make_run(runs, dataset, regime, seed, epoch=epochs, resolution=settings["data"]["resolution"],
                                  split=settings["evaluation"]["split"], settings=settings)  # fmt: skip
            for file in (run / "evaluations").iterdir():
                file.unlink()
            measure(run, settings, 40 + k + seed, "none")
            if regime == "clear":
                measure(run, settings, 60 + seed, "learned title=restorer")
            kept = json.loads((run / "result.json").read_text())
            changed = {"model": settings["model"], "epochs": epochs, "accuracy": "accuracy-6e6f6e65.json"}
            (run / "result.json").write_text(json.dumps(kept | changed))
    assert len(budgets) == 1, "as many passes of each"
    table = analysis.table(name, runs)
    labels = [line.label for line in table.rows]
    for label, row in zip(labels, table.cells, strict=True):
        for cell in row:
            assert cell.n and len(cell.seeds) == 3 and not cell.missing, (label, cell.missing)
            if label == "blur augmentation":
                continue
            assert cell.comparison and not cell.comparison.why_not, (label, cell.comparison)
