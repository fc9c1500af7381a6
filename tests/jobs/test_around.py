"""What a job's shell does around its Python, with pretend SLURM commands: where shared folders are away, and where the
Python is killed."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.cluster import Cluster, Resources
from jobs.sbatch import MOVES, parameters

SCONTROL = """#!/bin/bash
case "$*" in
*"show job"*) echo "JobId=12 JobState=$STATE Restarts=0 Partition=gpu NumNodes=1 ExcNodeList=$EXCLUDED Z=1" ;;
*hostnames*) tr , '\\n' <<<"$3" ;;
*) echo "$@" >>"$ASKED" ;;
esac
"""
SINFO = "#!/bin/bash\nprintf '%s\\n' 'node1 idle' 'node2 down*' 'node3 mix' 'node3 mix' 'node4 drng' 'node5 alloc*'\n"
PYTHON = '#!/bin/bash\necho "$@" >>"$ASKED"\nexit $KILLED_STATUS\n'


@dataclass(frozen=True)
class Job:
    """A job on node3, beside which node1 alone is up."""

    folder: Path

    @property
    def away(self) -> Path:
        return self.folder / "s" / "away" / "12_3"

    def run(self, command: str = "exit 0", sleep: str = ":", **env: str) -> tuple[int, list[str], str]:
        """How the script ends, what it asked of SLURM and Python, and what it printed."""
        array, code = self.folder / "s" / "array", self.folder / "code"
        given = parameters("name", array, Resources(), 9, self.folder, Cluster(), code)
        script = "\n".join([f"sleep() {{ {sleep}; }}", *given["setup"], f"bash -c {command!r}"])
        known = {"STATE": "RUNNING", "EXCLUDED": "(null)", "SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12",
                 "SLURM_ARRAY_TASK_ID": "3", "SLURMD_NODENAME": "node3", "ASKED": str(self.folder / "asked"),
                 "KILLED_STATUS": "0"}  # fmt: skip
        done = subprocess.run(
            ["bash", "-c", script], env=os.environ | known | env, cwd=self.folder, capture_output=True, text=True
        )
        asked = self.folder / "asked"
        return done.returncode, asked.read_text().splitlines() if asked.exists() else [], done.stderr


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    """All is there."""
    for folder in ("bin", "code", "s/away"):
        (tmp_path / folder).mkdir(parents=True)
    for name, text in (("scontrol", SCONTROL), ("sinfo", SINFO), ("python", PYTHON)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return Job(tmp_path)


@pytest.mark.parametrize("status", [0, 1, 75])
def test_how_the_python_ends_is_how_the_job_ends(job: Job, status: int) -> None:
    assert job.run(f"exit {status}") == (status, [], "")


def test_what_comes_back_was_waited_for(job: Job) -> None:
    (job.folder / "code").rename(job.folder / "gone")
    job.away.write_text("of the time before\n")
    assert job.run("exit 5", sleep="mv gone code") == (5, [], "")
    assert not job.away.exists()


@pytest.mark.parametrize("what", ["code", "bin/python"])
def test_a_node_without_the_shared_folders_is_excluded(job: Job, what: str) -> None:
    (job.folder / what).rename(job.folder / "gone")
    status, asked, said = job.run(EXCLUDED="node4")
    assert (status, asked) == (1, ["requeue 12_3", "update JobId=12_3 ExcNodeList=node3,node4"])
    assert said == f"{job.folder / what} is not there on node3; back in the queue\n"
    assert not job.away.exists()


@pytest.mark.parametrize(
    ("excluded", "why"),
    [
        ("node1", "and too few other nodes are left to try"),  # the others that SLURM has are down
        (",".join(f"node{k}" for k in range(10, 10 + MOVES)), "nor on others before"),
    ],
)
def test_the_last_node_is_not_excluded_and_the_cause_is_said(job: Job, excluded: str, why: str) -> None:
    (job.folder / "code").rename(job.folder / "gone")
    status, asked, said = job.run(EXCLUDED=excluded)
    assert (status, asked) == (1, [])
    assert said == job.away.read_text()
    assert said == (
        f"blurtrain: {job.folder / 'code'} is not there on node3, {why}: put it back, then `blurtrain grid retry` "
        "starts what failed\n"
    )


def test_a_cancelled_job_does_not_go_back(job: Job) -> None:
    (job.folder / "code").rename(job.folder / "gone")
    status, asked, said = job.run(STATE="CANCELLED")
    assert (status, asked) == (1, [])
    assert said.endswith("left alone\n") and not job.away.exists()


@pytest.mark.parametrize(("number", "taken", "status"), [(9, 0, 0), (9, 1, 137), (15, 0, 0)])
def test_a_python_that_is_killed_is_reported(job: Job, number: int, taken: int, status: int) -> None:
    ended, asked, _ = job.run(f"kill -{number} $$", KILLED_STATUS=str(taken))
    assert (ended, asked) == (status, [f"-m jobs.killed {job.folder / 's' / 'array'} {number}"])


def test_a_signal_to_the_shell_does_not_end_the_job(job: Job) -> None:
    assert job.run(f"kill -{signal.SIGUSR2} $PPID; exit 3") == (3, [], "")
