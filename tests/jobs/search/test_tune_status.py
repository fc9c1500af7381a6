"""How a search stands, on the command line and from Python."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import blurtrain
import jobs
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import BlurtrainError
from blurtrain.files import held, is_held, write_json
from blurtrain.run import Run
from blurtrain.trials import Study, Trial, studies
from jobs.search.file import SearchFile, read_search

RATE, OPTIMISER = "optimisation.learning_rate", "optimisation.optimiser"
SEARCH: dict[str, Any] = {
    "base": {"dataset": "textures", "regime": "clear", "data": {"resolution": 64},
             "optimisation": {"epochs": 3, "warmup_epochs": 1, "batch_size": 8}, "evaluation": {"sigmas": [0, 8]},
             "loader": {"kind": "resident", "workers": 1}, "logging": {"tensorboard": False}},
    "space": {OPTIMISER: {"choice": ["adam", "sgd"]}, RATE: {"log_uniform": [1e-4, 1e-2]},
              "optimisation.momentum": {"uniform": [0.5, 0.99], "when": {OPTIMISER: "sgd"}}},
    "seeds": [0, 1], "searcher": {"name": "random"}, "trials": 4,
}  # fmt: skip


@pytest.fixture
def search(tmp_path: Path, prepared: Dataset) -> Path:
    path = tmp_path / "mine.yaml"
    base = {**SEARCH["base"], "data": {"resolution": 64, "root": str(prepared.folder.parent)}}
    path.write_text(yaml.safe_dump({**SEARCH, "base": base}, sort_keys=False))  # `when` looks at dimensions before it
    return path


def trial(file: SearchFile, runs: Path, flat: dict[str, Any] | None, tops: list[list[float]], ended: str) -> None:
    """A trial whose runs have reached this on the val split, epoch by epoch."""
    study, members = Study.of(file, runs), file.members(flat)
    for member, own in zip(members, tops, strict=True):
        run = Run.begin(runs, member.run_id, member.settings)
        attempt = run.new_attempt(member.settings, file.data_id)
        for epoch, top1 in enumerate(own, 1):
            levels = [{"blur": "sharp", "top1": top1, "loss": 1.0}]
            attempt.record("validation", at=epoch, epoch=epoch, split="val", n=3, levels=levels)
        attempt.beat(epoch=len(own) + 0.25 * (not ended))
        if ended:
            attempt.close()
        if ended == "done":
            run.finish({"run_id": run.id, "epochs": len(own)})
    ids = tuple(member.run_id for member in members)
    study.write(
        Trial(len(study.trials()), flat, file.active(flat), ids, ended, "out of memory" if ended == "failed" else "")
    )


@pytest.fixture
def runs(search: Path, tmp_path: Path) -> Path:
    runs, file = tmp_path / "runs", read_search(search)
    Study.of(file, runs).begin(file.record)
    trial(file, runs, None, [[10, 20, 50], [10, 20, 52]], "done")
    trial(file, runs, {OPTIMISER: "sgd", RATE: 2e-3, "optimisation.momentum": 0.75}, [[9, 60, 70], [9, 60, 64]], "done")
    trial(file, runs, {OPTIMISER: "adam", RATE: 5e-3, "optimisation.momentum": 0.75}, [[30, 90], [10]], "")
    return runs


def status(capsys: pytest.CaptureFixture[str], search: Path, runs: Path, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["tune", "status", str(search), "--runs", str(runs), *words])
    assert end.value.code == 0
    return capsys.readouterr().out


def test_rows_say_how_far_each_trial_is(search: Path, runs: Path) -> None:
    rows = jobs.trials(str(search), runs=str(runs))
    assert [row["state"] for row in rows] == ["done", "done", "running"]
    assert [row["at"] for row in rows] == [3, 3, 1.25]  # of the seed that is behind, by its heartbeat
    assert [row["objective"] for row in rows] == [51, 67, 20]  # of epoch 1, which both have reached
    assert [row["best"] for row in rows] == [False, True, False]
    assert rows[1]["sd"] == pytest.approx(18**0.5) and rows[1]["settings"][OPTIMISER] == "sgd"
    assert [set(row["settings"]) for row in rows] == [
        {OPTIMISER, RATE}, {OPTIMISER, RATE, "optimisation.momentum"}, {OPTIMISER, RATE},
    ]  # fmt: skip


def test_a_trial_that_has_taken_over_has_the_base_settings_no_more(
    search: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "base settings" in status(capsys, search, runs)
    study = Study.of(read_search(search), runs)
    before = {"runs": [], "epoch": 2, "from": 1, "active": {}, "flat": None}
    study.write(replace(study.trials()[0], lineage=(before,)))
    assert "base settings" not in status(capsys, search, runs)


def test_the_command_prints_a_table_or_json(search: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line.split() for line in status(capsys, search, runs).splitlines()]
    assert lines[0] == ["trial", "state", "epoch", "objective", "optimiser", "learning_rate", "momentum"]
    assert lines[1] == ["0", "done", "3/3", "51", "±", "1.4", "adam", "0.001", "base", "settings"]
    assert lines[2] == ["1", "done", "3/3", "67", "±", "4.2", "*", "sgd", "0.002", "0.75"]
    assert lines[3][:4] == ["2", "running", "1.25/3", "20"]
    text = [" ".join(line) for line in lines]
    assert "4 trials: 2 done, 1 running, 1 to begin" in text
    assert "* best so far, by validation top1 at sharp: trial 1: 67 (base settings: 51)" in text
    assert "no process is at it; `blurtrain tune` goes on with it" in text
    assert json.loads(status(capsys, search, runs, "--json")) == jobs.trials(search, runs=runs)


def test_it_says_which_process_is_at_it(search: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Study.of(read_search(search), runs)
    write_json(study.folder / "driver.json", {"pid": 4711, "host": "far"})
    with held(study.driver):
        assert "process 4711 on far is at it" in status(capsys, search, runs)


def test_a_failed_trial_says_of_what(search: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trial(read_search(search), runs, {OPTIMISER: "adam", RATE: 9e-3, "optimisation.momentum": 0.9}, [[], []], "failed")
    (line,) = [line for line in status(capsys, search, runs).splitlines() if line.startswith("3 ")]
    assert "failed" in line and line.endswith("out of memory")


def test_looking_needs_neither_torch_nor_ray(search: Path, runs: Path) -> None:
    code = ("import sys, blurtrain, jobs; before = 'pydantic' in sys.modules; assert blurtrain.tune is jobs.tune; "
            "rows = jobs.trials(sys.argv[1], runs=sys.argv[2]); "
            "print(before, len(rows), {'torch', 'ray'} & set(sys.modules))")  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code, str(search), str(runs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == "False 3 set()\n", done.stderr


@pytest.mark.long
def test_from_python_a_search_is_one_line(search: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray.tune")  # which is imported here with other settings than a search has
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    lines: list[str] = []

    def interrupted(line: str) -> None:
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        jobs.tune(search, runs=tmp_path / "new", report=interrupted, trials=2, seeds=[0], scheduler={"name": "none"},
                  resources={"cpus_per_gpu": 1})  # fmt: skip
    (study,) = studies(tmp_path / "new")
    assert lines and not is_held(study.driver)  # it was waited for
    rows = blurtrain.tune(str(search), runs=str(tmp_path / "new"), report=lines.append, trials=2, seeds=[0],
                          scheduler={"name": "none"}, resources={"cpus_per_gpu": 1})  # fmt: skip
    assert [(row["trial"], row["state"], row["at"]) for row in rows] == [(0, "done", 3), (1, "done", 3)]
    assert all((tmp_path / "new" / run_id / "result.json").exists() for row in rows for run_id in row["runs"])
    again = jobs.tune(search, runs=tmp_path / "new", report=print, trials=2, seeds=[0], scheduler={"name": "none"},
                      resources={"cpus_per_gpu": 1})  # fmt: skip
    assert again == rows
    with pytest.raises(BlurtrainError, match=r"a trial of 2 seeds wants \d+ cores side by side"):
        jobs.tune(search, runs=tmp_path / "new", resources={"cpus_per_gpu": 1000})
    from analysis import report, trials

    assert trials(tmp_path / "new")["objective"].tolist() == [row["objective"] for row in rows]
    assert "All 2 trials" in report(tmp_path / "new", tmp_path / "out").read_text()
