"""Grids on SLURM without SLURM: what is submitted, found again, and started anew."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pretend import Answer, squeue, submitted

import jobs
from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.errors import JobError
from blurtrain.run import Run
from jobs.backend import missing, submit
from jobs.cluster import Cluster, Resources
from jobs.grid import Member, expand, read_grid
from jobs.item import training
from jobs.node import report
from jobs.sbatch import parameters
from jobs.slurm import Slurm
from jobs.states import states
from jobs.submissions import Submission, submissions


def grid_here(prepared: Dataset, axes: str) -> tuple[list[str], list[Member]]:
    """A grid file in the folder that we work in: its arguments on the command line, and its runs."""
    Path("grid.yaml").write_text(f"axes: {axes}")
    data = prepared.folder.parent
    return ["grid.yaml", "--data", str(data)], expand(read_grid(Path("grid.yaml")), "grid.yaml", data)


def test_arrays_hold_what_asks_for_the_same(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    members = [member(0), member(1, nodes=2), member(2), member(3), member(4, pack=2), member(5, pack=2)]
    ids = [m.run_id for m in members]
    answer("sbatch", "Submitted batch job 13\n")
    backend = Slurm(tmp_path)
    assert len(submit([training(m, tmp_path) for m in members], backend, Cluster(max_array=2))) == 6
    (submission,) = submissions(tmp_path)
    assert [array.tasks for array in submission.arrays] == [
        ((ids[0],), (ids[2],)), ((ids[3],),), ((ids[1],),), ((ids[4], ids[5]),),
    ]  # fmt: skip
    assert [array.resources.nodes for array in submission.arrays] == [1, 1, 2, 1]
    assert submission.released


def test_options_reach_sbatch_as_values(tmp_path: Path) -> None:
    cluster = Cluster(sbatch={"account": "a; rm -rf /"}, minutes=1, at_a_time=3)
    wanted = cluster.complete(Resources(nodes=2, gpus=4))
    given = parameters("name", tmp_path / "a", wanted, 9, tmp_path, cluster, tmp_path / "my code")
    assert given["additional_parameters"] == {"requeue": True, "account": "a; rm -rf /"}
    assert (given["nodes"], given["ntasks_per_node"], given["gpus_per_node"], given["array_parallelism"]) == (
        2,
        4,
        4,
        3,
    )
    assert given["signal_delay_s"] == 30  # not the profile's 120 s: they would be over before the job began
    assert f"export PYTHONPATH='{tmp_path}/my code'${{PYTHONPATH:+:$PYTHONPATH}}" in given["setup"]


def absent(members: list[Member], runs: Path) -> list[str]:
    return [item.id for item in missing([training(m, runs) for m in members], runs)]


def test_what_is_missing(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    members = [member(k) for k in range(4)]
    submission = submitted(tmp_path, *members[:3])
    squeue(answer, submission, "12|0|RUNNING|0:10|node1|NAME|None", "12|1|PENDING|0:00||NAME|Priority")
    Run.begin(tmp_path, members[3].run_id, members[3].settings).finish({})
    assert absent(members, tmp_path) == [members[2].run_id]


def test_what_waits_on_slurm_is_not_started_here(
    answer: Answer, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    where, members = grid_here(prepared, "{dataset: [textures], regime: [clear, blurry]}")
    squeue(answer, submitted(Path("runs"), *members), *(f"12|{k}|PENDING|0:00||NAME|Priority" for k in range(2)))
    with pytest.raises(SystemExit) as ended:
        main(["grid", "submit", *where, "--cluster", "local"])
    assert ended.value.code == 0
    assert capsys.readouterr().err.startswith("0 of 2 runs submitted")
    for more, message in (
        ([], "runs: was submitted to SLURM before; say --cluster"),  # or a login node would train it
        (["--cluster", "simulator", "--at-a-time", "-1"], "--at-a-time -1: must be 1 or more"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["grid", "submit", *where, *more])
        assert ended.value.code == 2
        assert capsys.readouterr().err.startswith(f"blurtrain: {message}")
    assert not (Path("runs") / ".local" / "queues").exists()


def test_a_dead_jobs_heartbeat_does_not_count(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = member()
    submitted(tmp_path, one)
    run = Run.begin(tmp_path, one.run_id, one.settings)
    run.new_attempt(one.settings, "d").beat(epoch=1)
    assert absent([one], tmp_path) == []  # it is trained by hand
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    run.new_attempt(one.settings, "d").beat(epoch=1)
    assert absent([one], tmp_path) == [one.run_id]  # killed so hard that it could not say so


def test_what_was_submitted_in_part_is_abandoned(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    submitted(tmp_path, member(), job="")
    Slurm(tmp_path).repair()
    (abandoned,) = submissions(tmp_path)
    assert abandoned.abandoned
    assert absent([member()], tmp_path) == [member().run_id]
    assert not (tmp_path / "bin" / "scontrol.called").exists()
    assert abandoned.arrays[0].name in (tmp_path / "bin" / "squeue.called").read_text()  # whether SLURM has it


@pytest.mark.parametrize("words", ["", "Invalid job id specified", "Job is no longer pending execution"])
def test_what_was_submitted_and_not_released_is_released(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, words: str
) -> None:
    submitted(tmp_path, member(), released=False)
    answer("scontrol", code=1 if words else 0, error=words)
    Slurm(tmp_path).repair()
    Slurm(tmp_path).repair()
    assert (tmp_path / "bin" / "scontrol.called").read_text() == "release 12\n"
    (whole,) = submissions(tmp_path)
    assert (whole.released, whole.abandoned) == (True, False)


def test_what_cannot_be_released_is_reported_and_tried_again(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    submitted(tmp_path, member(), released=False)
    answer("scontrol", code=1, error="Unable to contact slurm controller")
    with pytest.raises(JobError, match="Unable to contact"):
        Slurm(tmp_path).repair()
    assert not submissions(tmp_path)[0].released


def test_unfit_nodes_are_excluded_unless_too_few_are_left(answer: Answer, tmp_path: Path) -> None:
    def excluded(nodes: int) -> str | None:
        wanted = Cluster().complete(Resources(nodes=nodes))
        return parameters("name", tmp_path / "a", wanted, 1, tmp_path, Cluster(), tmp_path).get("exclude")

    (tmp_path / ".slurm").mkdir()
    report(tmp_path, "node3", "0 of 8 GPUs answer", "12")
    answer("sinfo", "node1|idle|gpu*\nnode2|mix|gpu*\nnode3|idle|gpu*\nnode4|down*|gpu*\nnode5|idle|other\n")
    answer("scontrol", "node3\n")  # what `show hostnames` makes of it
    assert [excluded(nodes) for nodes in (1, 2, 3)] == ["node3", "node3", None]


def test_what_was_cancelled_is_missing_though_its_job_has_not_ended(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one, other = member(0), member(1)
    submission = submitted(tmp_path, one, other)
    squeue(answer, submission, *(f"12|{k}|COMPLETING|0:10|node1|NAME|None" for k in range(2)))
    (submission.folder / "cancelled" / one.run_id).touch()
    assert absent([one, other], tmp_path) == [one.run_id]
    (row,) = states([one], tmp_path)
    assert (row["state"], row["submitted"]) == ("cancelled", False)


def test_of_runs_that_share_a_job_one_is_cancelled(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one, other = member(0), member(1)
    (tmp_path / ".slurm").mkdir()
    submission = Submission.begin(tmp_path / ".slurm", [(Resources(pack=2), [(one.run_id, other.run_id)])])
    submission.record({submission.arrays[0].name: "12"}).mark_released()
    squeue(answer, submission, "12||RUNNING|0:10|node1|NAME|None")
    assert jobs.cancel([one], runs=tmp_path) == [one.run_id]
    assert not (tmp_path / "bin" / "scancel.called").exists()
    assert jobs.cancel([one], runs=tmp_path) == []
    assert absent([one, other], tmp_path) == [one.run_id]
    assert jobs.cancel([other], runs=tmp_path) == [other.run_id]
    assert (tmp_path / "bin" / "scancel.called").read_text() == "--quiet 12\n"


def test_what_shares_a_gpu_with_a_hung_run_goes_on_with_it(
    answer: Answer, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    where, members = grid_here(prepared, "{dataset: [textures], regime: [clear, blurry], seed: [0, 1]}")
    hung, beside, other, failed = members
    Path("runs/.slurm").mkdir(parents=True)
    tasks = [(hung.run_id, beside.run_id), (other.run_id,), (failed.run_id,)]
    submission = Submission.begin(Path("runs/.slurm"), [(Resources(pack=2), tasks)])
    submission.record({submission.arrays[0].name: "12"}).mark_released()
    squeue(answer, submission, "12|0|RUNNING|10:00|node1|NAME|None", "12|1|RUNNING|10:00|node1|NAME|None")
    answer("sacct", "12_2|FAILED\n")
    answer("sinfo", "gpu\n")
    answer("sbatch", "Submitted batch job 13\n")
    scancel = tmp_path / "bin" / "scancel"
    scancel.write_text(scancel.read_text() + f": > {tmp_path}/bin/squeue.out\n")
    scancel.write_text(scancel.read_text().replace("exit 0\n", ""))
    for task, member in enumerate([hung, other]):
        monkeypatch.setenv("SLURM_JOB_ID", f"12_{task}")
        Run.begin(Path("runs"), member.run_id, member.settings).new_attempt(member.settings, "d").beat(epoch=1)
    (beat,) = Path("runs", hung.run_id).glob("attempts/*/heartbeat.json")
    os.utime(beat, (beat.stat().st_atime - 300, beat.stat().st_mtime - 300))
    with pytest.raises(SystemExit) as ended:
        main(["grid", "retry", *where, "--stale"])  # nowhere said: nothing is cancelled
    assert ended.value.code == 2
    assert not (tmp_path / "bin" / "scancel.called").exists()
    with pytest.raises(SystemExit) as ended:
        main(["grid", "retry", *where, "--stale", "--cluster", "simulator"])
    assert ended.value.code == 0
    assert (tmp_path / "bin" / "scancel.called").read_text() == "--quiet 12_0\n"
    assert capsys.readouterr().out.split() == [hung.run_id, beside.run_id]
