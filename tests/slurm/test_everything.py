"""The study's models and the fine-tuning baselines in one submission, as `everything.yaml` has them, at tiny size: the
same grids with other images, a small network and small pixels merged in; each watched on its way from planned to done.
"""

import hashlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import yaml
from grids import REPOSITORY, SmallGrid, explain
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.models import build

pytestmark = pytest.mark.slurm
NETWORK = "timm/mobilenetv2_035"
CLASSES = ["checks", "other", "rings", "stripes"]
STUDY = ("faces", "toybox-instance", "toybox-category", "imagenet-12", "imagenet-100")
REGIMES = ["original", "sharp-d8", "sharp-shake"]


def weights(folder: Path) -> dict[str, Any]:
    torch.manual_seed(0)
    model = build(NETWORK, len(CLASSES)).train()
    for _ in range(3):  # statistics of batch norm that are those of something
        model(torch.randn(8, 3, 64, 64))
    path = folder / "weights.safetensors"
    safetensors.torch.save_file(model.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"published": None, "file": str(path), "sha256": digest, "classes": CLASSES}


def watch_until_done(grid: SmallGrid) -> list[dict[str, Any]]:
    """Look at all runs until they are done: each goes from queued to running to done, and never back. Their rows."""
    order = ["queued", "running", "done"]
    rows = grid.rows()
    seen: dict[str, list[str]] = {row["run_id"]: [] for row in rows}
    deadline = time.monotonic() + 600
    while {history[-1] for history in seen.values() if history} != {"done"}:
        assert time.monotonic() < deadline, explain(rows, grid.runs)
        results = {path.parent.name for path in grid.runs.glob("*/result.json")}
        rows = grid.rows()
        for row in rows:
            seen[row["run_id"]].append(row["state"])
            assert row["run_id"] not in results or row["state"] == "done"
            assert row["state"] != "queued" or row["message"].startswith("waits in the queue: ")
            assert row["state"] != "running" or row["job_id"]
        time.sleep(3)
    for history in seen.values():
        assert set(history) <= set(order)
        assert sorted(history, key=order.index) == history
    assert {state for history in seen.values() for state in history} == set(order)
    return rows


def test_fifteen_models_and_the_baselines_in_one_submission(quiet: Cluster, tree: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for name in STUDY:
        prepare(data, name, Recipe(images=str(tree), resolution=64, val=0.2))
    kept = Recipe(images=str(tree), resolution=64, aspect="kept", stored=96, tested=96)
    dataset: Dataset = prepare(data, "imagenet", kept)[0]
    grids = REPOSITORY / "configs" / "grids"
    assert yaml.safe_load((grids / "everything.yaml").read_text()) == {"extends": ["paper.yaml", "baselines.yaml"]}
    small = {
        "data": {"resolution": 64, "root": str(data)},
        "evaluation": {"batch_size": 8},
        "loader": {"kind": "resident", "workers": 1, "threads": 1},
        "logging": {"tensorboard": False},
    }
    paper = {
        "extends": str(grids / "paper.yaml"),
        "settings": {
            **small,
            "optimisation": {"batch_size": 8, "epochs": 2, "warmup_epochs": 1},
            "evaluation": {"sigmas": [0, 8], "batch_size": 8},
        },
        "resources": {"minutes": 10, "pack": 4},
        "where": [{"match": {"dataset": STUDY[0]}, "resources": {"nodes": 2, "pack": 1}}],
    }
    own = {"architecture": NETWORK, "pretrained": weights(tmp_path)}
    protocol = {"defined_at": 96, "scales": [80], "crops": "all"}
    blurs = ["sharp", "disk-8@384", "shake@384"]
    everywhere = {
        "network": own,
        "augmentation": {"scaled": {"object_scales": [89, 96, 103], "defined_at": 96}},
        "optimisation": {"batch_size": 8},
        "evaluation": {**small["evaluation"], "blurs": blurs, "protocol": protocol},
    }
    left_out = [{"model": "resnet-50"}, *({"regime": r} for r in ("sharp-d4", "sharp-d2-d8", "d8")),
                *({"augmentation.scaled.network_scales": s} for s in ([512], [256, 512]))]  # fmt: skip
    baselines = {
        "extends": str(grids / "baselines.yaml"),
        "settings": small,
        "where": [{"match": {}, "settings": everywhere}],
        "exclude": left_out,
        "resources": {"gpus": 1, "minutes": 10, "pack": 3},
    }
    for name, grid in (("paper", paper), ("baselines", baselines)):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(grid))
    grid = SmallGrid.write(quiet, tmp_path, dataset, profile={"at_a_time": 2, "failures": 0})  # for its profile
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({"extends": ["paper.yaml", "baselines.yaml"]}))

    assert grid.states() == ["planned"] * 18
    assert "submitting would take up 18 of 18 runs" in grid.call("plan").stdout
    assert grid.submit() == 18
    assert grid.submit() == 0  # all on their way, in whichever of the two grids
    rows = watch_until_done(grid)
    assert all(row["message"] and row["epoch"] == row["epochs"] for row in rows)
    assert all("top-1" in row["message"] for row in rows if row["dataset"] != "imagenet")
    assert grid.attempts() == [1] * 18
    wait("no job to be left", lambda: not grid.jobs(), 30)
    assert "submitting would take up 0 of 18 runs" in grid.call("plan").stdout
    assert {(r["dataset"], r["regime"]) for r in rows} == {
        *((name, regime) for name in STUDY for regime in ("clear", "blurry", "blurry-to-clear")),
        *(("imagenet", regime) for regime in REGIMES),
    }
    for row in rows:
        (file,) = (grid.runs / row["run_id"] / "evaluations").glob("accuracy-*.json")
        found = json.loads(file.read_text())
        levels = {r["blur"] for r in found["rows"]}
        assert levels == (set(blurs) if row["dataset"] == "imagenet" else {"sharp", "gaussian-8"})
        assert found.get("protocol") == ("all-80@96" if row["dataset"] == "imagenet" else None)
