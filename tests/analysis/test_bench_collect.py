"""The run directories that `blurtrain bench collect` generates, and what it prints."""

import json
from pathlib import Path

import pytest

import analysis
from analysis.bench.collect import generate
from blurtrain.cli import main
from blurtrain.run import find


def test_generated_runs_are_runs(runs: Path) -> None:
    ids = list(generate(runs, 102))
    assert sorted(run.id for run in find(runs)) == sorted(ids)
    collection = analysis.collect(runs)
    assert not collection.not_read and not collection.notes
    table = collection.runs
    assert table["state"].value_counts().to_dict() == {"done": 101, "waiting": 1}
    assert table["seed"].nunique() == 5 and table["optimisation.learning_rate"].nunique() == 21
    measures = collection.measures(["run_id", "measure", "blur"])
    assert measures.value_counts("measure").to_dict() == {"accuracy": 101 * 33 * 5, "margin": 101 * 45}
    assert len(collection.epochs(["epoch"])) == 101 * 100 + 50
    assert len(analysis.load(runs)) == 101 * 33
    assert table.groupby("settings_id").size().max() == 5, "the seeds of one setting"


@pytest.mark.slow
def test_bench_collect_prints_a_row_a_look(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "collect", "--count", "6", "--folder", str(tmp_path), "--json"])
    assert ended.value.code == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["found"] for row in rows] == [
        "6 of 6 runs read", "0 of 6 runs read", "1 of 6 runs read", "198 rows, 8 columns", "33 cells",
        "198 rows, 33 columns",
    ]  # fmt: skip
    assert all(row["n"] == 6 and row["seconds"] > 0 and row["peak_gib"] > 0 for row in rows)
    assert not list(tmp_path.iterdir())
