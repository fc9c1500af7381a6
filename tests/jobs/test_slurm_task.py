"""What a SLURM job does about how its runs ended, with pretend SLURM commands around it."""

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from blurtrain.errors import JobError
from blurtrain.run import Run
from jobs import requeue, slurm_task
from jobs.cluster import Resources
from jobs.item import SETTINGS, Item
from jobs.slurm_task import Task, after_kill, work

Answer = Callable[..., None]
R = Item("r", ("train", SETTINGS, "--runs", "runs"), settings="{}")
RUNNING = "JobId=12 JobState=RUNNING Restarts=0 ExcNodeList=(null)\n"


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Task:
    """Of one run, in job 12, which SLURM knows to be running."""
    for name in [n for n in os.environ if n.startswith("SLURM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setattr(requeue, "FORGOTTEN_SECONDS", 0)
    answer("scontrol", RUNNING)
    submission = tmp_path / "runs" / ".slurm" / "s"
    for name in ("cancelled", "failures", "settings", "logs"):
        (submission / name).mkdir(parents=True)
    return Task(tmp_path / "runs", submission, (R,), Resources(), cpus=1, failures=1, warning=30, start=60)


def asked(tmp_path: Path, command: str) -> list[str]:
    """What a pretend command was called with."""
    called = tmp_path / "bin" / f"{command}.called"
    return called.read_text().splitlines() if called.exists() else []


def training(tmp_path: Path, script: str) -> None:
    """What the processes of the run do; the nodes find themselves fit."""
    (tmp_path / "bin" / "srun").write_text(f"#!/bin/bash\n[[ $* = *jobs.node* ]] && exit 0\n{script}\n")


def test_a_run_that_ends_well(answer: Answer, task: Task, tmp_path: Path) -> None:
    assert work(task) == "done"
    check, train = asked(tmp_path, "srun")
    assert "jobs.node" in check
    assert f"blurtrain train {task.submission}/settings/r.yaml --runs runs" in train
    assert "requeue 12" not in asked(tmp_path, "scontrol")


def test_what_is_over_is_not_begun(answer: Answer, task: Task, tmp_path: Path) -> None:
    (task.submission / "cancelled" / "r").touch()
    assert work(task) == "nothing left to do"
    (task.submission / "abandoned").touch()
    assert work(task).startswith("abandoned")
    assert not asked(tmp_path, "srun")


def test_a_stopped_run_goes_back_into_the_queue(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("srun", code=75)
    assert work(task).endswith("back in the queue")
    assert asked(tmp_path, "scontrol")[-1] == "requeue 12"
    assert not list((task.submission / "failures").iterdir())


def test_a_job_whose_processes_cannot_be_started(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("srun", code=1)
    assert work(task) == "the nodes could not be checked: srun ended with 1; back in the queue"
    assert all("--immediate=60" in call for call in asked(tmp_path, "srun"))
    with pytest.raises(JobError, match="srun ended with 1"):
        work(task)


def test_failures_are_tried_again_so_often(answer: Answer, task: Task, tmp_path: Path) -> None:
    training(tmp_path, "exit 2")
    assert work(task) == "r ended with 2; back in the queue"
    with pytest.raises(JobError, match="r: failed; see"):
        work(task)
    assert asked(tmp_path, "scontrol").count("requeue 12") == 1


def test_failures_before_the_last_progress_do_not_count(
    answer: Answer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training(tmp_path, "exit 2")
    for saved in (10, 20, 30):
        monkeypatch.setattr(Run, "saved_step", lambda run, saved=saved: saved)
        assert work(task).endswith("back in the queue")


def test_an_unfit_node_is_reported_and_excluded(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("srun", "unfit node\tnode3\t0 of 8 GPUs answer\n")
    answer("sinfo", "node3|mix|gpu*\nnode4|idle|gpu*\n")
    assert "node3: 0 of 8 GPUs answer" in work(task)
    assert json.loads((task.runs / ".slurm" / "nodes" / "node3.json").read_text())["job"] == "12"
    assert asked(tmp_path, "scontrol")[-2:] == ["requeue 12", "update JobId=12 ExcNodeList=node3"]
    for _ in range(slurm_task.MOVES - 1):
        work(task)
    with pytest.raises(JobError, match="no node is fit"):
        work(task)


def test_the_last_node_is_not_excluded(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("srun", "unfit node\tnode3\t0 of 8 GPUs answer\n")
    answer("sinfo", "node3|mix|gpu*\nnode4|drain|gpu*\n")
    answer("scontrol", f"{RUNNING.strip()} node3\n")  # `show hostnames` gets this answer, too
    why = "node3: 0 of 8 GPUs answer; too few other nodes are left to try"
    with pytest.raises(JobError, match=why):
        work(task)
    assert (task.submission / "logs" / "r.log").read_text() == f"blurtrain: {why}\n"
    assert not [words for words in asked(tmp_path, "scontrol") if "requeue" in words or "update" in words]


def test_a_job_whose_python_was_killed_goes_back_until_that_is_too_often(
    answer: Answer, task: Task, tmp_path: Path
) -> None:
    assert after_kill(task, 9) == "the job was killed by signal 9; back in the queue"
    assert asked(tmp_path, "scontrol")[-1] == "requeue 12"
    with pytest.raises(JobError, match="r: the job was killed by signal 9"):
        after_kill(task, 9)
    assert (task.submission / "logs" / "r.log").read_text() == "blurtrain: the job was killed by signal 9\n"


def test_a_job_that_slurm_has_taken_back_was_not_killed(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("scontrol", "JobState=CANCELLED Restarts=0")
    assert after_kill(task, 9).endswith("left alone")
    (task.submission / "cancelled" / "r").touch()
    assert after_kill(task, 9) == "nothing left to do"
    assert not list((task.submission / "failures").iterdir())
    assert "requeue 12" not in asked(tmp_path, "scontrol")


def test_what_is_cancelled_beside_others_stops_alone(
    answer: Answer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_task, "CANCELLED_SECONDS", 0.1)
    cancelled, stopped = task.submission / "cancelled" / "s", tmp_path / "stopped"
    wait = "for k in {1..300}; do sleep .1; done; exit 1"
    training(
        tmp_path,
        f"trap 'touch {stopped}; exit 75' USR2\n[[ $* = */s.yaml* ]] && {{ touch {cancelled}; {wait}; }}\n"
        f"for k in {{1..100}}; do [ -e {stopped} ] && break; sleep .1; done\nsleep .3; exit 0",
    )
    both = replace(task, items=(*task.items, replace(R, id="s")))
    assert work(both) == "done"
    assert "requeue 12" not in asked(tmp_path, "scontrol")


def test_a_full_folder_of_runs_is_no_nodes_fault(answer: Answer, task: Task, tmp_path: Path) -> None:
    answer("srun", "unfit folder\tnode3\t12 MiB are free in runs\n")
    assert work(task) == "12 MiB are free in runs; back in the queue"
    with pytest.raises(JobError, match="12 MiB are free in runs"):
        work(task)
    assert (task.submission / "logs" / "r.log").read_text() == "blurtrain: 12 MiB are free in runs\n"
    assert not (task.runs / ".slurm" / "nodes").exists()


def test_what_failed_too_often_is_not_begun_again_with_its_neighbours(
    answer: Answer, task: Task, tmp_path: Path
) -> None:
    (task.submission / "failures" / "r.json").write_text('{"failures": 2}')
    both = replace(task, items=(*task.items, replace(R, id="s")))
    with pytest.raises(JobError, match=r"^r: failed; see"):
        work(both)
    assert ["/s.yaml" in call for call in asked(tmp_path, "srun")] == [False, True]  # the look at the nodes, and s
    with pytest.raises(JobError, match=r"^r: failed before"):
        work(task)


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ({"text": "JobState=RUNNING Restarts=1"}, "left alone"),  # SLURM gave it to other nodes
        ({"text": "JobState=PENDING Restarts=1"}, "left alone"),  # it was preempted, and waits again
        ({"text": "JobState=CANCELLED Restarts=0"}, "left alone"),
        ({"text": "JobState=PENDING Restarts=0"}, "the job was forgotten"),  # its controller died after it started us
        ({"code": 1, "error": "Invalid job id specified"}, "the job was forgotten"),
    ],
)
def test_a_job_that_is_no_longer_ours_is_left_alone(
    answer: Answer, task: Task, tmp_path: Path, said: dict[str, str], ours: str
) -> None:
    answer("srun", code=75)
    answer("scontrol", **said)
    assert ours in work(task)
    assert "requeue 12" not in asked(tmp_path, "scontrol")


def test_a_controller_that_is_away_is_waited_for(
    answer: Answer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requeue, "TRIES", 3)
    monkeypatch.setattr(requeue, "BETWEEN_TRIES_SECONDS", 0)
    answer("srun", code=75)
    answer("scontrol", code=1, error="Unable to contact slurm controller")
    with pytest.raises(JobError, match="Unable to contact"):
        work(task)
    assert asked(tmp_path, "scontrol") == ["--oneliner show job 12"] * 3


@pytest.mark.parametrize(
    ("attempts", "outcome"),
    [
        (["12"], "r ended with 1; back in the queue"),  # our own failure
        (["12", "12"], "done"),  # another start of this job is at it
        (["12", "13"], "done"),
        (["13"], "done"),
    ],
)
def test_a_run_that_another_job_has_taken_over_has_not_failed(
    answer: Answer, task: Task, tmp_path: Path, attempts: list[str], outcome: str
) -> None:
    older = task.runs / "r" / "attempts" / "0001"
    older.mkdir(parents=True)
    (older / "origin.json").write_text('{"job": "11"}')
    begun = [f"mkdir {older.parent}/{k:04d}; echo '{{\"job\": \"{job}\"}}' > {older.parent}/{k:04d}/origin.json"
             for k, job in enumerate(attempts, 2)]  # fmt: skip
    training(tmp_path, "; ".join([*begun, "exit 1"]))
    assert work(task) == outcome


def ends_in(seconds: float) -> str:
    at = datetime.fromtimestamp(time.time() + seconds).isoformat(timespec="seconds")
    return f"{RUNNING.strip()} EndTime={at}\n"


def test_a_run_is_asked_to_stop_before_the_time_limit(answer: Answer, task: Task, tmp_path: Path) -> None:
    srun = tmp_path / "bin" / "srun"
    srun.write_text(
        "#!/bin/bash\ntrap 'exit 75' USR2\n[[ $* = *jobs.node* ]] && exit 0\nfor k in {1..300}; do sleep .1; done\n"
    )
    answer("scontrol", ends_in(32))
    assert work(task).endswith("back in the queue")


def test_a_limit_that_was_moved_is_seen(
    answer: Answer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_task, "LOOK_AGAIN_SECONDS", 0.1)
    training(tmp_path, "sleep 5")
    answer("scontrol", ends_in(33))

    def move() -> None:
        (tmp_path / "bin" / "new").write_text(ends_in(3600))
        (tmp_path / "bin" / "new").rename(tmp_path / "bin" / "scontrol.out")

    threading.Timer(0.3, move).start()
    assert work(task) == "done"


def test_a_limit_that_slurm_did_not_say_is_asked_for_again(
    answer: Answer, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm_task, "ASK_AGAIN_SECONDS", 0.1)
    training(tmp_path, "trap 'exit 75' USR2; for k in {1..300}; do sleep .1; done")
    (tmp_path / "bin" / "scontrol.out").write_text(ends_in(32))
    (tmp_path / "bin" / "scontrol").write_text(
        f"#!/bin/sh\n[ -e {tmp_path}/once ] || {{ touch {tmp_path}/once; exit 1; }}\ncat {tmp_path}/bin/scontrol.out\n"
    )
    assert work(task).endswith("back in the queue")


def test_time_limits_without_progress_come_to_an_end(answer: Answer, task: Task, tmp_path: Path) -> None:
    training(tmp_path, "exit 75")
    answer("scontrol", ends_in(60))
    for _ in range(slurm_task.TIMEOUTS):
        assert work(task).endswith("back in the queue")
    with pytest.raises(JobError, match=r"give it more resources\.minutes"):
        work(task)
    assert (task.submission / "logs" / "r.log").read_text().startswith("blurtrain: no progress within 3 time limits of")
    answer("scontrol", ends_in(3600))  # a preemption is another matter
    assert work(task).endswith("back in the queue")


def test_each_start_has_a_rendezvous_of_its_own(answer: Answer, task: Task, tmp_path: Path) -> None:
    training(tmp_path, f"echo $BLURTRAIN_RENDEZVOUS >> {tmp_path}/words")
    work(task)
    work(task)
    words = (tmp_path / "words").read_text().split()
    assert len(words) == len(set(words)) == 2


def test_one_process_a_node_where_the_item_asks_for_it(answer: Answer, task: Task, tmp_path: Path) -> None:
    wide = replace(task, resources=Resources(nodes=2, gpus=4), cpus=3)
    assert work(wide) == "done"
    assert work(replace(wide, items=(replace(R, process_per_node=True),))) == "done"
    each_gpu, each_node = [call for call in asked(tmp_path, "srun") if "blurtrain train" in call]
    assert "--ntasks=8 --ntasks-per-node=4 --cpus-per-task=3 --gpus-per-node=4" in each_gpu
    assert "--ntasks=2 --ntasks-per-node=1 --cpus-per-task=12 --gpus-per-node=4" in each_node
