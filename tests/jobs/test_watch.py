"""How far a grid is and when it will be done, from its rows."""

from typing import Any

import pytest

from jobs.watch import coloured_table, frame, progress, remaining_seconds


def row(state: str, epoch: float, **more: Any) -> dict[str, Any]:
    known = {"run_id": f"run-{state}", "dataset": "birds", "regime": "clear", "model": "alexnet", "seed": 0}
    pending = state in ("queued", "running")
    return {**known, "state": state, "epoch": epoch, "epochs": 10, "job_id": "", "message": "", "submitted": pending,
            **more}  # fmt: skip


def test_the_share_is_of_epochs() -> None:
    assert progress([row("done", 10), row("running", 5), row("planned", 0), row("failed", 5)]) == 0.5


def test_what_waits_takes_as_long_an_epoch_as_what_runs() -> None:
    """Five, ten and ten epochs to go at 6 s, two runs at a time: 75 s; planned ones do not come by themselves."""
    running = [row("running", 5, remaining_seconds=30), row("running", 0, remaining_seconds=60)]
    assert remaining_seconds([*running, row("queued", 0), row("planned", 0), row("done", 10)]) == 75
    assert remaining_seconds(running) == 60, "no sooner than the slowest"
    assert remaining_seconds([row("running", 0), row("queued", 0)]) is None


@pytest.mark.parametrize("coloured", [False, True])
def test_a_frame_has_bars_and_colours_that_are_asked_for(coloured: bool) -> None:
    rows = [row("running", 5, remaining_seconds=30), row("done", 10), row("failed", 1, message="out of memory")]
    shown = frame(rows, coloured)
    assert ("\x1b[" in shown) == coloured
    first = shown.splitlines()[0]
    assert "53%" in first and "3 runs: 1 running, 1 failed, 1 done, about 30 s to go" in first
    assert any("50%  run-running" in line for line in shown.splitlines())
    lines = coloured_table(rows, coloured).splitlines()
    assert [line.startswith("\x1b[32m") for line in lines[1:4]] == [False, coloured, False]
    assert ["\x1b[31m" in line for line in lines[1:4]] == [False, False, coloured]
