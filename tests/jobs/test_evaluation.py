"""Evaluations as jobs of a grid: many runs a job, safe to repeat, a failing run named."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pretend import Answer

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import JobError
from blurtrain.files import held
from blurtrain.run import Run
from jobs import evaluation
from jobs.cluster import Cluster
from jobs.grid import Member
from jobs.local import Local
from jobs.slurm import Slurm
from jobs.submissions import submissions


def done(members: list[Member], runs: Path) -> list[Member]:
    """The members, as if they had been trained."""
    for member in members:
        Run.begin(runs, member.run_id, member.settings).finish({})
    return members


def test_runs_share_jobs_by_what_they_ask_for(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    answer("sbatch", "Submitted batch job 13\n")
    members = done([*(member(k, nodes=2, gpus=4) for k in range(18)), member(18, gpus=0)], tmp_path)
    started = evaluation.submit(members, Slurm(tmp_path), Cluster(), ["evaluation.sigmas=[0]"])
    (submission,) = submissions(tmp_path)
    arrays = [(len(array.tasks), array.resources.nodes, array.resources.gpus) for array in submission.arrays]
    assert arrays == [(2, 1, 1), (1, 1, 0)]  # 16 runs and 2 of one GPU, and one of none
    assert sorted(item for array in submission.arrays for (item,) in array.tasks) == sorted(started)


def test_runs_that_a_job_is_at_are_left_to_it(
    member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Local, "start", lambda backend, items, cluster: None)  # they never begin
    members = done([member(k) for k in range(3)], tmp_path)
    backend, cluster = Local(tmp_path), Cluster(scheduler="local")
    (tmp_path / ".local" / "locks").mkdir(parents=True)
    (first,) = evaluation.submit(members[:1], backend, cluster, ["evaluation.sigmas=[0]"])
    with held(tmp_path / ".local" / "locks" / first):
        again = evaluation.submit(members[:1], backend, cluster, ["evaluation.sigmas=[0]"])
        assert again == [first]
        more = evaluation.submit(members, backend, cluster, ["evaluation.sigmas=[0]"])
        assert more[0] == first
        others = [json.loads((tmp_path / ".evaluations" / f"{job}.json").read_text())["runs"] for job in more[1:]]
        assert sorted(run for runs in others for run in runs) == sorted(m.run_id for m in members[1:])
        assert first not in evaluation.submit(members, backend, cluster, ["evaluation.sigmas=[8]"])


def test_own_measures_travel_with_the_jobs(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer("sbatch", "Submitted batch job 13\n")
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        (tmp_path / f"{name}.py").write_text("class Measure: ...\n")
    options = {"overrides": ["evaluation.measures=[first.py:Measure]"], "measures": ["second.py:Measure"]}
    evaluation.submit(done([member()], tmp_path), Slurm(tmp_path), Cluster(), **options)
    assert (
        len(list(tmp_path.glob(".slurm/code/*/first.py"))) == len(list(tmp_path.glob(".slurm/code/*/second.py"))) == 1
    )


def test_nothing_to_evaluate_is_an_error(member: Callable[..., Member], tmp_path: Path) -> None:
    with pytest.raises(JobError, match="none of these 1 runs is done"):
        evaluation.submit([member()], Local(tmp_path), Cluster(scheduler="local"))


@pytest.mark.slow
def test_a_grid_is_evaluated_and_a_failing_run_named(
    prepared: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {
        "data": {"root": str(prepared.folder.parent), "resolution": 64},
        "optimisation": {"epochs": 1, "batch_size": 8, "warmup_epochs": 0.5},
        "evaluation": {"sigmas": [0]},
        "loader": {"kind": "resident", "workers": 1},
        "logging": {"tensorboard": False},
    }
    axes = {"dataset": ["textures"], "regime": ["clear", "blurry"], "seed": [0]}
    grid, runs = tmp_path / "grid.yaml", tmp_path / "runs"
    grid.write_text(yaml.safe_dump({"settings": settings, "axes": axes}))

    def called(*words: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["grid", words[0], str(grid), *words[1:], "--runs", str(runs)])
        return int(ended.value.code or 0)

    assert called("submit", "--wait") == 0
    assert called("evaluate", "evaluation.sigmas=[0,4]", "--wait") == 0
    files = {path.parent.parent.name for path in runs.glob("*/evaluations/*.json") if '"sigma": 4' in path.read_text()}
    assert len(files) == 2
    broken = next(runs.glob("textures-blurry-*"))
    (broken / "weights.safetensors").write_bytes(b"nothing")
    capsys.readouterr()
    assert called("evaluate", "evaluation.sigmas=[0,5]", "--wait", "--at-a-time", "1") == 1  # both in one job
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("blurtrain: ")]
    assert [broken.name in line for line in said] == [True]
    assert any('"sigma": 5' in path.read_text() for path in runs.glob("textures-clear-*/evaluations/*.json"))
