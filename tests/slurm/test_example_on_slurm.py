"""A user's folder (tests/example_package/) on the simulated cluster: its parts travel with the jobs."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from grids import SmallGrid
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset

pytestmark = pytest.mark.slurm
EXAMPLE = Path(__file__).parents[1] / "example_package"
USED = {"__init__", "blur", "curriculum", "layers", "loss", "measure", "network"}


def test_it_is_trained_from_a_snapshot(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    grid = SmallGrid.write(quiet, tmp_path / "work", prepared)  # for its profile
    shutil.copytree(EXAMPLE, grid.folder, dirs_exist_ok=True)
    document = yaml.safe_load((grid.folder / "grid.yaml").read_text())
    document["settings"]["data"]["root"] = str(prepared.folder.parent)
    document["settings"]["loader"]["threads"] = 1
    (grid.folder / "grid.yaml").write_text(yaml.safe_dump(document))
    assert grid.submit() == 2
    run_ids = {row["run_id"] for row in grid.rows()}
    shutil.move(grid.folder / "parity", grid.folder / "moved")
    for run_id in run_ids:
        wait("the result", lambda run_id=run_id: (grid.runs / run_id / "result.json").exists(), 120)
    (code,) = (grid.runs / ".slurm" / "code").iterdir()
    assert {path.stem for path in (code / "parity").glob("*.py")} == USED
    for run_id in run_ids:
        evaluations = [json.loads(path.read_text()) for path in (grid.runs / run_id / "evaluations").glob("*.json")]
        assert {document["measure"] for document in evaluations} == {"accuracy", "margin"}
        levels = {row["blur"] for document in evaluations for row in document["rows"]}
        assert levels == {"sharp", "parity.blur:Ring-radius=6"}
