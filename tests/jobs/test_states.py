"""How runs stand on SLURM, by what a pretend SLURM says and what the runs wrote."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from pretend import Answer, squeue, submitted

from blurtrain.errors import JobError
from blurtrain.run import Run
from jobs import output
from jobs.cluster import Resources
from jobs.grid import Member
from jobs.states import intent, on_its_way, states
from jobs.submissions import Submission


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
    assert output.read(tmp_path, members[3].run_id)[1].endswith("no room\n")
    with pytest.raises(JobError, match="has printed nothing yet"):
        output.read(tmp_path, members[0].run_id)


def test_a_silent_job_is_stale(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    attempt = Run.begin(tmp_path, one.run_id, one.settings).new_attempt(one.settings, "d")
    attempt.beat(epoch=1)
    beat = attempt.path / "heartbeat.json"
    os.utime(beat, (beat.stat().st_atime - 300, beat.stat().st_mtime - 300))
    squeue(answer, submission, "12|N/A|RUNNING|10:00|node1|NAME|None")
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("stale", "no heartbeat from node1 for 300 s")
    squeue(answer, submission, "12|N/A|RUNNING|0:20|node2|NAME|None")  # another job, that has only just begun
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("running", "starting on node2")


def test_what_slurm_holds_back_is_shown_with_what_to_do(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    members = [member(k) for k in range(5)]
    whole = submitted(tmp_path, *members[:4])
    lines = [
        "12|0|PENDING|0:00||NAME|JobHeldAdmin",
        "12|1|PENDING|0:00||NAME|launch failed requeued held",
        "12|2|SUSPENDED|9:00|node1|NAME|None",
        "12|3|PENDING|0:00||NAME|BadConstraints",
    ]
    squeue(answer, whole, *lines)
    rows = states(members[:4], tmp_path)
    assert [row["state"] for row in rows] == ["held", "held", "preempted", "held"]
    assert rows[0]["message"].startswith("held in the queue: JobHeldAdmin; `scontrol release 12_0` releases it")
    assert rows[3]["message"] == "SLURM has no node left that it may start on; `grid retry` starts it anew"
    assert [intent(row) for row in rows] == ["leave alone"] * 4
    assert [on_its_way(row) for row in rows] == [
        False,
        False,
        True,
        False,
    ]  # who waits for the grid does not wait for those
    cut = submitted(tmp_path, members[4], released=False)
    squeue(answer, cut, "12|N/A|PENDING|0:00||NAME|JobHeldUser")
    (row,) = states(members[4:], tmp_path)
    assert row["message"] == "held in the queue: JobHeldUser; submit again"


def test_what_was_not_there_counts_for_more_than_what_a_run_printed_before(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    answer("sacct", "12|FAILED\n")
    (submission.folder / "logs" / f"{one.run_id}.log").write_text("epoch 3/9\n")
    assert states([one], tmp_path)[0]["message"] == "epoch 3/9"
    (submission.folder / "away" / "12").write_text("blurtrain: /python is not there on node1\n")
    (row,) = states([one], tmp_path)
    assert (row["state"], row["message"]) == ("failed", "/python is not there on node1")
    assert intent(row) == "try again"


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
    beat = tmp_path / one.run_id / "attempts" / "0001" / "heartbeat.json"
    os.utime(beat, (beat.stat().st_atime - 7200, beat.stat().st_mtime - 7200))  # failed in an earlier turn
    squeue(answer, submission, "12|N/A|RUNNING|30:00|node1|NAME|None")
    assert states([one], tmp_path)[0]["state"] == "failed"


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


def test_slurms_silence_is_reported(answer: Answer, member: Callable[..., Member], tmp_path: Path) -> None:
    one = member()
    submitted(tmp_path, one)
    answer("squeue", code=1, error="Unable to contact slurm controller")
    (row,) = states([one], tmp_path)
    assert "Unable to contact" in row["message"]
    with pytest.raises(JobError, match="Unable to contact"):
        states([one], tmp_path, must_know=True)
