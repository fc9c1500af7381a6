"""Grids on SLURM without SLURM: what is submitted, found again, and told of each run."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blurtrain.cli import main
from blurtrain.data.catalog import Dataset
from blurtrain.errors import JobError
from blurtrain.run import Run
from blurtrain.settings import PRESETS, Settings, run_id
from jobs import logs, slurm
from jobs.cluster import Cluster, Resources
from jobs.costs import cost
from jobs.grid import Member, expand, read_grid
from jobs.snapshot import snapshot
from jobs.status import intent, on_its_way, states
from jobs.submissions import Submission, submissions

Answer = Callable[..., None]


@pytest.fixture(scope="module")
def member(prepared: Dataset, tiny: Callable[..., Settings]) -> Callable[..., Member]:
    def make(seed: int = 0, **resources: Any) -> Member:
        settings = tiny(seed=seed)
        return Member(run_id(settings, prepared.data_id), settings, Resources(**resources))

    return make


def submitted(runs: Path, *members: Member, job: str = "12", released: bool = True) -> Submission:
    """As `submit` leaves it: one array with a task a run. Without a job, or not released: if it was killed."""
    (runs / ".slurm").mkdir(parents=True, exist_ok=True)
    submission = Submission.begin(runs / ".slurm", [(Resources(), [(m.run_id,) for m in members])])
    if job:
        submission.record({submission.arrays[0].name: job})
    if job and released:
        submission.mark_released()
    return submission


def squeue(answer: Answer, submission: Submission, *lines: str) -> None:
    name = submission.arrays[0].name
    answer("squeue", "".join(line.replace("NAME", name) + "\n" for line in lines))


# --- what is submitted ----------------------------------------------------------------------------------------------


def test_arrays_hold_what_asks_for_the_same(member: Callable[..., Member]) -> None:
    members = [member(0), member(1, nodes=2), member(2), member(3), member(4, pack=2), member(5, pack=2)]
    ids = [m.run_id for m in members]
    arrays = list(slurm._arrays(members, Cluster(max_array=2)))
    assert [tasks for _, tasks in arrays] == [
        [(ids[0],), (ids[2],)], [(ids[3],)], [(ids[1],)], [(ids[4], ids[5])],
    ]  # fmt: skip
    assert [r.nodes for r, _ in arrays] == [1, 1, 2, 1]


def test_options_reach_sbatch_as_values(tmp_path: Path) -> None:
    cluster = Cluster(sbatch={"account": "a; rm -rf /"}, minutes=1, at_a_time=3)
    wanted = cluster.complete(Resources(nodes=2, gpus=4))
    given = slurm.sbatch_parameters("name", wanted, 9, tmp_path, cluster, tmp_path / "my code")
    assert given["additional_parameters"] == {"requeue": True, "account": "a; rm -rf /"}
    assert (given["nodes"], given["ntasks_per_node"], given["gpus_per_node"], given["array_parallelism"]) == (
        2,
        4,
        4,
        3,
    )
    assert given["signal_delay_s"] == 30  # not the profile's 120 s: they would be over before the job began
    assert f"export PYTHONPATH='{tmp_path}/my code'" in given["setup"]


def test_what_is_missing(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    members = [member(k) for k in range(4)]
    submission = submitted(tmp_path, *members[:3])
    squeue(answer, submission, "12|0|RUNNING|0:10|node1|NAME|None", "12|1|PENDING|0:00||NAME|Priority")
    Run.begin(tmp_path, members[3].run_id, members[3].settings).finish({})
    assert slurm.missing(members, tmp_path) == [members[2]]


def test_what_waits_on_slurm_is_not_started_here(
    answer: Answer, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text("axes: {dataset: [textures], regime: [clear, blurry]}")
    where = ["grid.yaml", "--data", str(prepared.folder.parent)]
    members = expand(read_grid(Path("grid.yaml")), "grid.yaml", prepared.folder.parent)
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
    assert slurm.missing([one], tmp_path) == []  # somebody trains it by hand
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    run.new_attempt(one.settings, "d").beat(epoch=1)
    assert slurm.missing([one], tmp_path) == [one]  # killed so hard that it could not say so


def test_what_was_submitted_in_part_is_abandoned(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    submitted(tmp_path, member(), job="")
    slurm._take_up(submissions(tmp_path))
    (abandoned,) = submissions(tmp_path)
    assert abandoned.abandoned
    assert slurm.places([abandoned], [member().run_id]) == {member().run_id: []}
    assert not (tmp_path / "bin" / "scontrol.called").exists()
    assert abandoned.arrays[0].name in (tmp_path / "bin" / "squeue.called").read_text()  # whether SLURM has it


@pytest.mark.parametrize("words", ["", "Invalid job id specified", "Job is no longer pending execution"])
def test_what_was_submitted_and_not_let_go_is_let_go(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, words: str
) -> None:
    submitted(tmp_path, member(), released=False)
    answer("scontrol", code=1 if words else 0, error=words)
    slurm._take_up(submissions(tmp_path))
    slurm._take_up(submissions(tmp_path))
    assert (tmp_path / "bin" / "scontrol.called").read_text() == "release 12\n"
    (whole,) = submissions(tmp_path)
    assert (whole.released, whole.abandoned) == (True, False)


def test_what_cannot_be_let_go_is_told_and_tried_again(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    submitted(tmp_path, member(), released=False)
    answer("scontrol", code=1, error="Unable to contact slurm controller")
    with pytest.raises(JobError, match="Unable to contact"):
        slurm._take_up(submissions(tmp_path))
    assert not submissions(tmp_path)[0].released


def test_the_copy_of_the_code_is_whole_and_made_once(tmp_path: Path) -> None:
    copy = snapshot(tmp_path)
    assert snapshot(tmp_path) == copy
    assert [p.name for p in tmp_path.iterdir()] == [copy.name]
    for file in ("blurtrain/cli.py", "jobs/work.py", "analysis/__init__.py", "configs/regimes/clear.yaml"):
        assert (copy / file).is_file()


# --- what is told ---------------------------------------------------------------------------------------------------


def test_states_on_slurm(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [member(k) for k in range(5)]
    submission = submitted(tmp_path, *members)
    squeue(
        answer,
        submission,
        "12|0|PENDING|0:00||NAME|Priority",
        "12|1|PENDING|0:00||NAME|BeginTime",
        "12|2|RUNNING|0:10|node1|NAME|None",
    )
    answer("sacct", "12_0|PENDING\n12_3|FAILED\n12_[4,7-9%2]|CANCELLED by 0\n")
    for k in (1, 2):
        monkeypatch.setenv("SLURM_JOB_ID", f"12_{k}")
        Run.begin(tmp_path, members[k].run_id, members[k].settings).new_attempt(members[k].settings, "d").beat(
            epoch=1.5, doing="training", sigma=4.0, images_per_second=812.3, remaining_seconds=240.0
        )
    (submission.folder / "logs" / f"{members[3].run_id}.log").write_text("a\nblurtrain: no room\n")
    rows = states(members, tmp_path)
    assert [(row["state"], row["job_id"]) for row in rows] == [
        ("queued", "12_0"), ("preempted", "12_1"), ("running", "12_2"), ("failed", "12_3"), ("cancelled", "12_4"),
    ]  # fmt: skip
    assert rows[0]["message"] == "waits in the queue: Priority"
    assert rows[2]["message"] == "training on node1"
    assert (rows[2]["epoch"], rows[2]["sigma"], rows[2]["remaining_seconds"]) == (1.5, 4.0, 240.0)
    assert rows[3]["message"] == "blurtrain: no room"
    assert [on_its_way(row) for row in rows] == [True, True, True, False, False]
    assert [intent(row) for row in rows] == ["leave alone"] * 3 + ["try again", "continue"]
    assert logs.read(tmp_path, members[3].run_id)[1].endswith("no room\n")
    with pytest.raises(JobError, match="has printed nothing yet"):
        logs.read(tmp_path, members[0].run_id)


def test_a_silent_job_is_stale(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    attempt = Run.begin(tmp_path, one.run_id, one.settings).new_attempt(one.settings, "d")
    attempt.beat(epoch=1)
    beat = attempt.path / "heartbeat.json"
    os.utime(beat, (beat.stat().st_atime - 300, beat.stat().st_mtime - 300))
    squeue(answer, submission, "12|N/A|RUNNING|10:00|node1|NAME|None")
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("stale", "no sign of life from node1 for 300 s")
    squeue(answer, submission, "12|N/A|RUNNING|0:20|node2|NAME|None")  # another job, that has only just begun
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("running", "starting on node2")


def test_a_log_is_followed_from_the_queue_through_attempts_to_the_end(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    squeue(answer, submission, "12|N/A|RUNNING|10:00|node1|NAME|None")
    assert logs.find(tmp_path, one.run_id[:-4]) == one.run_id
    parts = logs.follow(tmp_path, one.run_id, every=0.01)
    told: list[str] = []
    timer = threading.Timer(0.3, lambda: _attempt("first\n"))  # nothing has been printed until then

    def _attempt(text: str) -> Path:
        run = Run.begin(tmp_path, one.run_id, one.settings)
        log = run.new_attempt(one.settings, "d").path / "log.txt"
        log.write_text(text)
        return log

    timer.start()
    told.append(next(parts)[1])
    first = Run(tmp_path / one.run_id).attempts()[0] / "log.txt"
    with first.open("a") as file:
        file.write("more\n")
    second = _attempt("second\n")
    told += [next(parts)[1], next(parts)[1]]
    with second.open("a") as file:
        file.write("last\n")
    answer("squeue")
    told += [part for _, part in parts]
    assert told == ["first\n", "more\n", "second\n", "last\n"]


def test_what_slurm_holds_back_is_told_with_what_to_do(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    members = [member(k) for k in range(4)]
    whole = submitted(tmp_path, *members[:3])
    lines = [
        "12|0|PENDING|0:00||NAME|JobHeldAdmin",
        "12|1|PENDING|0:00||NAME|launch failed requeued held",
        "12|2|SUSPENDED|9:00|node1|NAME|None",
    ]
    squeue(answer, whole, *lines)
    rows = states(members[:3], tmp_path)
    assert [row["state"] for row in rows] == ["held", "held", "preempted"]
    assert rows[0]["message"].startswith("held in the queue: JobHeldAdmin; `scontrol release 12_0` lets it go")
    assert [intent(row) for row in rows] == ["leave alone"] * 3
    assert [on_its_way(row) for row in rows] == [False, False, True]  # who waits for the grid does not wait for those
    cut = submitted(tmp_path, members[3], released=False)
    squeue(answer, cut, "12|N/A|PENDING|0:00||NAME|JobHeldUser")
    (row,) = states(members[3:], tmp_path)
    assert row["message"] == "held in the queue: JobHeldUser; submit again"


def test_a_run_that_failed_beside_others_on_its_gpu(
    answer: Answer, member: Callable[..., Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = member(0), member(1)
    (tmp_path / ".slurm").mkdir()
    submission = Submission.begin(tmp_path / ".slurm", [(Resources(pack=2), [(one.run_id, other.run_id)])])
    submission.record({submission.arrays[0].name: "12"})
    squeue(answer, submission, "12|N/A|RUNNING|10:00|node1|NAME|None")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    for k in (one, other):
        attempt = Run.begin(tmp_path, k.run_id, k.settings).new_attempt(k.settings, "d")
        attempt.beat(epoch=1, doing="training")
        if k is one:
            attempt.record("failed", error="TrainingError", message="no number")
            attempt.beat(ended=True)
    rows = states([one, other], tmp_path)
    assert [(row["state"], row["message"]) for row in rows] == [
        ("failed", "TrainingError: no number"), ("running", "training on node1"),
    ]  # fmt: skip
    assert rows[0]["submitted"]  # the job may try it again


def test_a_result_may_come_after_the_end_of_its_job(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one = member()
    submitted(tmp_path, one)
    answer("sacct", "12|COMPLETED\n")
    attempt = Run.begin(tmp_path, one.run_id, one.settings).new_attempt(one.settings, "d")
    attempt.beat(epoch=2, ended=True)
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"], on_its_way(row)) == ("running", "finishing", True)
    beat = attempt.path / "heartbeat.json"
    os.utime(beat, (beat.stat().st_atime - 300, beat.stat().st_mtime - 300))
    (row,) = states([one], tmp_path)
    assert (row["state"], on_its_way(row)) == ("stale", False)


def test_a_job_that_does_not_begin_is_stale(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    squeue(answer, submission, "12|N/A|RUNNING|14:00|node1|NAME|None")
    assert states([one], tmp_path)[0]["message"] == "starting on node1"
    squeue(answer, submission, "12|N/A|RUNNING|16:00|node1|NAME|None")
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("stale", "has not begun on node1 within 16 min")


def test_a_node_without_the_shared_folders_is_left_to_others(answer: Answer, tmp_path: Path) -> None:
    here, nowhere = tmp_path, tmp_path / "none of this"
    env = {**os.environ, "SLURM_JOB_ID": "12", "SLURMD_NODENAME": "node3"}
    for code, restarts, status, asked in (
        (here, "0", 0, []),
        (nowhere, "0", 1, ["requeue 12", "update JobId=12 ExcNodeList=node3"]),
        (nowhere, "8", 1, []),
    ):
        line = slurm._node_has(sys.executable, code).replace("sleep 60", "true")
        done = subprocess.run(["bash", "-c", line], env={**env, "SLURM_RESTART_COUNT": restarts}, text=True)
        called = tmp_path / "bin" / "scontrol.called"
        assert done.returncode == status
        assert (called.read_text().splitlines() if called.exists() else []) == asked
        called.unlink(missing_ok=True)


def test_what_shares_a_gpu_with_a_hung_run_goes_on_with_it(
    answer: Answer, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("grid.yaml").write_text("axes: {dataset: [textures], regime: [clear, blurry], seed: [0, 1]}")
    where = ["grid.yaml", "--data", str(prepared.folder.parent)]
    hung, beside, other, failed = expand(read_grid(Path("grid.yaml")), "grid.yaml", prepared.folder.parent)
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
        main(["grid", "retry", *where, "--stale", "--cluster", "simulator"])
    assert ended.value.code == 0
    assert (tmp_path / "bin" / "scancel.called").read_text() == "--quiet 12_0\n"
    assert capsys.readouterr().out.split() == [hung.run_id, beside.run_id]


def test_slurms_silence_is_told(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    submitted(tmp_path, one)
    answer("squeue", code=1, error="Unable to contact slurm controller")
    (row,) = states([one], tmp_path)
    assert "Unable to contact" in row["message"]
    with pytest.raises(JobError, match="Unable to contact"):
        states([one], tmp_path, must_know=True)


# --- costs and grids ------------------------------------------------------------------------------------------------


def test_costs(member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    assert str(cost([one], tmp_path)).startswith("GPU hours unknown")
    # 30 training images, 2 epochs
    assert cost([one], tmp_path, 1.0).gpu_hours == pytest.approx(60 / 3600)
    run = Run.begin(tmp_path, one.run_id, one.settings)
    attempt = run.new_attempt(one.settings, "d")
    attempt.record("start", at=0, epoch=0, world=2)
    attempt.record("epoch", at=3, epoch=1, images_per_second=20.0)
    run.finish({"dataset": one.settings.dataset, "model": one.settings.model})
    estimate = cost([member(1)], tmp_path)
    assert estimate.gpu_hours == pytest.approx(60 / 10 / 3600)
    assert "estimate from past runs" in str(estimate)


def test_the_studys_grid(tmp_path: Path) -> None:
    path = PRESETS / "grids" / "paper.yaml"
    names = read_grid(path).axes["dataset"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(json.dumps({"schema": 1, "data_id": name}))
    members = expand(read_grid(path), str(path), tmp_path)
    assert len(members) == 15
    decay = {m.settings.dataset: m.settings.optimisation.weight_decay for m in members}
    assert decay == dict(zip(names, (1e-5, 1e-5, 1e-4, 1e-5, 1e-4), strict=True))
    for m in members:
        o = m.settings.optimisation
        assert (o.optimiser, o.learning_rate, o.batch_size, o.epochs, o.warmup_epochs) == ("adam", 1e-3, 256, 100, 2)
        assert (m.settings.data.resolution, len(m.settings.evaluation.sigmas)) == (224, 33)
    more = PRESETS / "grids" / "paper-5-seeds.yaml"
    seeds = expand(read_grid(more), str(more), tmp_path)
    assert len(seeds) == 75
    assert {m.run_id for m in members} <= {m.run_id for m in seeds}
