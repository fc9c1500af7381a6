"""SLURM's answers, read; and its silence, reported."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.errors import JobError
from jobs import scheduler
from jobs.scheduler import Job

Answer = Callable[..., None]


def test_the_queue(answer: Answer) -> None:
    answer(
        "squeue",
        "12|3|RUNNING|1-02:03:04|node1|a|None\n12|4|PENDING|0:00||a|Resources\n13|N/A|COMPLETING|2:05|n[1-2]|b|x|y\n"
        "14|N/A|COMPLETED|0:01|n1|b|None\n",
    )
    assert scheduler.queue(["a", "b"]) == [
        Job("12_3", "a", 3, "RUNNING", "None", "node1", 93784),
        Job("12_4", "a", 4, "PENDING", "Resources", "", 0),
        Job("13", "b", 0, "COMPLETING", "x|y", "n[1-2]", 125),
    ]


def test_many_names_are_asked_in_parts(answer: Answer, tmp_path: Path) -> None:
    scheduler.queue([f"name{k}" for k in range(1001)])
    assert len((tmp_path / "bin" / "squeue.called").read_text().splitlines()) == 3


def test_how_jobs_ended(answer: Answer) -> None:
    answer("sacct", "12_3|CANCELLED by 1000\n12_4|COMPLETED\n13|FAILED\n")
    assert scheduler.history(["12", "13"]) == {"12_3": "CANCELLED", "12_4": "COMPLETED", "13": "FAILED"}
    answer("sacct", code=1, error="Slurm accounting storage is disabled")
    assert scheduler.history(["12"]) == {}


def test_limits_and_partitions(answer: Answer) -> None:
    answer("scontrol", "MaxArraySize            = 1001\nMaxJobCount = 5\n")
    assert scheduler.max_array() == 1001
    answer("sinfo", "gpu\nurgent\n")
    scheduler.check_partitions(["gpu", None, "gpu,urgent"])
    with pytest.raises(JobError, match="the cluster has no partition 'gpus'; did you mean 'gpu'"):
        scheduler.check_partitions(["gpus"])


def test_failure_and_absence_are_reported_in_one_line(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    answer("squeue", code=1, error="slurm_load_jobs error: Unable to contact slurm controller")
    with pytest.raises(JobError, match=r"SLURM's squeue failed: .*Unable to contact slurm controller"):
        scheduler.queue(["a"])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(JobError, match="no SLURM here"):
        scheduler.queue(["a"])


def test_nothing_of_ours_changes_what_is_submitted(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "SBATCH_JOB_NAME": "x", "SBATCH_ACCOUNT": "vision", "SLURM_MEM_PER_CPU": "4G", "SLURM_CONF": "/etc/slurm.conf",
        "RANK": "3", "WORLD_SIZE": "8", "MASTER_PORT": "1", "PATH": os.environ["PATH"], "SLURMD_NODENAME": "n",
    }  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with scheduler.own_environment(kept=["SBATCH_ACCOUNT"]):
        assert given.keys() & os.environ.keys() == {"SBATCH_ACCOUNT", "SLURM_CONF", "PATH"}
    assert given.items() <= os.environ.items()
