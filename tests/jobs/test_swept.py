"""What distinguishes the runs of a grid is a column wherever they are listed."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.run import Run
from jobs.grid import Member, declared, expand, read_grid
from jobs.states import states
from jobs.table import differing, table

AXES: dict[str, list[Any]] = {"dataset": ["textures"], "regime": ["clear", "blurry"]}


@pytest.fixture
def grid(tmp_path: Path, prepared: Dataset) -> Path:
    """A file for grids on `prepared`, to be written."""
    (tmp_path / "data").symlink_to(prepared.folder.parent)
    return tmp_path / "grid.yaml"


def members(grid: Path, axes: dict[str, list[Any]]) -> list[Member]:
    settings = {"data": {"root": str(grid.parent / "data"), "resolution": 64}, "optimisation": {"batch_size": 8}}
    grid.write_text(yaml.safe_dump({"settings": settings, "axes": axes}))
    return expand(read_grid(grid), str(grid))


def test_every_swept_setting_is_a_column(grid: Path, tmp_path: Path) -> None:
    rates, scales = [0.01, 0.001], [[0.2, 1], [0.5, 1]]
    rows = states(
        members(grid, AXES | {"optimisation.learning_rate": rates, "augmentation.crop_scale": scales}), tmp_path
    )
    names = ("optimisation.learning_rate", "augmentation.crop_scale")
    assert {(row["regime"], *(str(row[name]) for name in names)) for row in rows} == {
        (regime, str(rate), str(tuple(float(x) for x in scale)))
        for regime in AXES["regime"] for rate in rates for scale in scales
    }  # fmt: skip
    header, first, *_ = table(rows).splitlines()
    assert header.split()[:6] == ["dataset", "regime", "augmentation.crop_scale", "optimisation.learning_rate", "seed",
                                  "state"]  # fmt: skip
    assert first.split()[:6] == ["textures", "clear", "[0.2,", "1]", "0.01", "0"]


def test_plan_and_status_show_them(grid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members(grid, AXES | {"optimisation.learning_rate": [0.01, 0.001], "curriculum.sigma": [2, 8]})
    for command, json_option in (("plan", False), ("status", False), ("plan", True), ("status", True)):
        words = ["grid", command, str(grid), "--runs", str(grid.parent / "runs"), *["--json"] * json_option]
        with pytest.raises(SystemExit):
            main(words)
        out = capsys.readouterr().out
        if json_option:
            rows = json.loads(out)
            assert {row["regime"] for row in rows} == {"constant sigma=2", "blurry"}
            assert {row["optimisation.learning_rate"] for row in rows} == {0.01, 0.001}
        else:
            assert "0.01" in out and "constant sigma=2" in out
            assert out.count("optimisation.learning_rate=0.01\n") == (4 if command == "plan" else 0)


def test_a_grid_without_sweeps_looks_as_before(grid: Path, tmp_path: Path) -> None:
    rows = states(members(grid, AXES), tmp_path)
    assert table(rows).splitlines()[0].split() == ["dataset", "regime", "seed", "state", "epoch", "run"]
    assert [differing(row) for row in rows] == ["", ""]


def test_models_are_a_column_where_there_are_several(grid: Path, tmp_path: Path) -> None:
    rows = states(members(grid, AXES | {"network.architecture": ["alexnet-sup", "resnet-18"]}), tmp_path)
    assert [row["model"] for row in rows] == ["alexnet-sup"] * 2 + ["resnet-18"] * 2
    assert [f"-{row['model']}-" in row["run_id"] for row in rows] == [True] * 4
    assert table(rows).splitlines()[0].split()[:3] == ["dataset", "regime", "model"]


def test_a_level_given_twice_is_refused_before_anything_is_submitted(
    grid: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid.write_text("axes: {dataset: [textures], regime: [clear], evaluation.sigmas: [[0, 8], [8, 8.0]]}")
    with pytest.raises(SystemExit) as caught:
        main(["grid", "plan", str(grid), "--data", str(grid.parent / "data")])
    assert caught.value.code == 2
    assert capsys.readouterr().err.endswith("evaluation.sigmas: sigma 8 is given twice; leave one of them out\n")


def test_runs_that_were_begun_under_the_defaults_name_are_found(grid: Path, tmp_path: Path) -> None:
    """Older versions called every network that is given alone alexnet-sup."""
    two = members(grid, AXES | {"network.architecture": ["resnet-18"]})
    former = two[0].run_id.replace("resnet-18", "alexnet-sup")
    Run.begin(tmp_path / "runs", former, two[0].settings.model_copy(update={"model": "alexnet-sup"}))
    found = declared(grid, tmp_path / "runs")
    assert [member.run_id for member in found] == [former, two[1].run_id]
    assert [member.settings.model for member in found] == ["alexnet-sup", "resnet-18"]
    assert declared(grid, tmp_path / "none") == two
