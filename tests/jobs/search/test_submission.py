"""A search as a job: what is submitted, what is refused, and which of two drivers counts."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blurtrain.errors import JobError, SettingsError
from blurtrain.trials import Study
from jobs.cluster import Cluster, Resources
from jobs.item import SETTINGS
from jobs.search.driver import DRIVER, Session, alone, left
from jobs.search.file import SearchFile, checked
from jobs.search.submission import check, item, submitted

CLUSTER = Cluster(gpus_per_node=4, cpus_per_gpu=8, minutes=90)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Any]:
    folder = tmp_path / "data" / "none"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({"schema": 1, "data_id": "none", "counts": {"train": 0}}))

    def read(**said: Any) -> SearchFile:
        document = {
            "base": {"dataset": "none", "regime": "clear", "optimisation": {"epochs": 4, "batch_size": 32}},
            "space": {"optimisation.learning_rate": {"log_uniform": [1e-4, 1e-2]}},
            "objective": {"metric": "loss", "of": "training"},
            "allocation": {"nodes": 2, "gpus": 4},
            **said,
        }
        return checked(document, "mine", "mine.yaml", tmp_path / "data")

    return read


def test_the_job_of_a_search(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = file(seeds=[0, 1])
    job = item(search, tmp_path / "runs", CLUSTER)
    assert (job.id, job.resources, job.process_per_node) == (search.id, Resources(nodes=2, gpus=4), True)
    assert job.command == ("tune", SETTINGS, "--inside", search.id, "--runs", str(tmp_path / "runs"))
    job.words(tmp_path)
    monkeypatch.chdir("/")
    again = submitted(tmp_path / f"{job.id}.yaml", job.id)
    assert again.id == search.id
    assert again.search.resources.cpus_per_gpu == 8  # the cluster's, which the nodes do not know
    assert [m.run_id for m in again.members(None)] == [m.run_id for m in search.members(None)]
    with pytest.raises(SettingsError, match=r"was submitted as mine-0, and is mine-\w+ by now"):
        submitted(tmp_path / f"{job.id}.yaml", "mine-0")


def test_how_far_a_search_is_counts_as_progress(file: Any, tmp_path: Path) -> None:
    search, runs = file(), tmp_path / "runs"
    job, study = item(search, runs, CLUSTER), Study.of(search, runs)
    assert job.reached(runs) == 0
    study.begin(search.record)
    study.progress.write_text('{"at": 12}')
    assert job.reached(runs) == 12


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"allocation": {"gpus": 8}}, "allocation.gpus=8 a node, but the cluster's have 4"),
        ({"seeds": [0, 1, 2], "resources": {"gpus": 2}}, "a trial of 3 seeds wants 6 GPUs (2 a run), on one node; "
         "allocation.gpus is 4"),
        ({"resources": {"cpus_per_gpu": 40}}, "a trial of 1 seeds wants 40 cores, on one node; allocation.gpus=4 with "
         "cpus_per_gpu=8 are 32"),
        ({"resources": {"gpus": 3}}, "optimisation.batch_size=32 cannot be shared evenly by 3 processes"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(file: Any, said: dict[str, Any], message: str) -> None:
    with pytest.raises(JobError) as error:
        check(file(**said), CLUSTER)
    assert str(error.value).startswith("mine.yaml: ") and message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_left_of_a_grid(file: Any) -> None:
    search = file(
        searcher={"name": "grid"},
        space={"optimisation.learning_rate": {"choice": [0.1, 0.2, 0.3]}},
        trials=16,
    )
    assert [left(search, begun) for begun in (0, 3, 4)] == [4, 1, 0]


# --- two drivers ----------------------------------------------------------------------------------------------------


def test_a_later_start_of_the_same_job_takes_over(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    search = file()
    old, new = (Session(search, tmp_path / "runs", lambda _: None) for _ in range(2))
    old.study.begin(search.record)
    with alone(old):
        old.begin(None)
        assert old.owns()
        with alone(new):
            new.trials = {trial.number: trial for trial in new.study.trials()}
            assert new.owns() and not new.stop.is_set()
            assert not old.owns() and old.stop.is_set()
            new.end(0, "done", "0.5")
            old.end(0, "failed", "its node was cut off")
            old.begin({"optimisation.learning_rate": 0.001})
            old.mark_stopping()
            assert [(t.number, t.ended, t.message) for t in new.study.trials()] == [(0, "done", "0.5")]
            assert not new.study.is_marked(new.study.stopping)


def test_another_job_does_not(file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    search = file()
    old, new = (Session(search, tmp_path / "runs", lambda _: None) for _ in range(2))
    old.study.begin(search.record)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    with alone(old):
        monkeypatch.setenv("SLURM_JOB_ID", "13")
        with pytest.raises(JobError, match=f"process {os.getpid()} on .* is at this search"), alone(new):
            pass
        assert old.owns()
    assert json.loads((old.study.folder / DRIVER).read_text())["job"] == "12"
