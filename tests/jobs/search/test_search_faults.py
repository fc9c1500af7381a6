"""Whatever happens to a search on one machine: every trial is accounted for, none is trained twice, nothing stays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ray.tune", reason="needs ray[tune]")

from tunes import Searched, Tune

from blurtrain.errors import REQUEUE
from blurtrain.run import Run

pytestmark = pytest.mark.slow
ANOTHER = """
import os, sys, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

@ray.remote
class Counter:
    n = 0
    def next(self):
        self.n += 1
        return self.n

counter = Counter.remote()
for _ in sys.stdin:
    print(ray.get(counter.next.remote()), flush=True)
"""


def begun(tune: Tune, epochs: int = 1) -> bool:
    """Whether some run has got so far, and goes on."""
    runs = [Run(tune.runs / run_id) for run_id in tune.ids()]
    return any(run.beats() and sum(e["event"] == "epoch" for e in run.journal()) >= epochs for run in runs)


def test_a_trial_that_fails_is_recorded_and_the_others_go_on(searched: Searched, tmp_path: Path) -> None:
    tune = searched(
        "a",
        {"optimisation": {"optimiser": "sgd"}},
        space={
            "network.arguments.how": {"choice": ["", "raise", "kill"]},
            "optimisation.learning_rate": {"choice": [1e-3, 1e6], "when": {"network.arguments.how": ""}},
        },
        searcher={"name": "grid"},
        trials=9,
    )
    (tmp_path / "other").mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", ANOTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={"HOME": str(tmp_path / "other"), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert other.stdin and other.stdout
    try:
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "1\n"
        rows = tune.rows()
        print(file=other.stdin, flush=True)
        assert other.stdout.readline() == "2\n", "other people's Ray goes on"
    finally:
        other.stdin.close()
        other.wait(30)
    ended = {
        row["settings"].get("network.arguments.how") or row["settings"]["optimisation.learning_rate"]: row
        for row in rows
    }
    assert {key: row["state"] for key, row in ended.items()} == {
        1e-3: "done", 1e6: "failed", "raise": "failed", "kill": "failed",
    }  # fmt: skip
    assert "ArithmeticError: this network never learns" in ended["raise"]["message"]
    assert "killed by signal 9" in ended["kill"]["message"]
    assert "lower optimisation.learning_rate" in ended[1e6]["message"]
    tune.leaves_nothing()

    first = tune.attempts()
    assert tune.rows() == rows and tune.attempts() == first, "failures are not tried again unasked"
    again = tune.rows("--retry", NO_KILL="1")
    states = {row["trial"]: row["state"] for row in again}
    assert states == {**{row["trial"]: row["state"] for row in rows}, ended["kill"]["trial"]: "done"}
    done = next(row for row in rows if row["state"] == "done")
    assert tune.attempts()[done["runs"][0]] == 1, "what is done is left alone"


@pytest.mark.long  # as jobs of a cluster: tests/slurm/test_searches_on_slurm.py
def test_killed_in_the_middle_it_ends_as_if_undisturbed(searched: Searched) -> None:
    base = {"network": {"arguments": {"how": "slow"}}, "optimisation": {"epochs": 4}}
    said = {"base": base, "trials": 3}
    undisturbed, killed = searched("undisturbed", **said), searched("killed", **said)
    rows = undisturbed.rows()
    process = killed.tune()
    killed.wait_until(lambda: killed.runs.exists() and any(t["ended"] for t in killed.trials()) and begun(killed))
    process.kill()
    process.wait()
    done = [run_id for run_id in killed.ids() if Run(killed.runs / run_id).result()]
    assert 0 < len(done) < 3
    assert killed.rows() == rows and [row["state"] for row in rows] == ["done"] * 3
    assert {run_id: killed.attempts()[run_id] for run_id in done} == dict.fromkeys(done, 1), "none is trained twice"
    assert killed.weights() == undisturbed.weights()
    killed.leaves_nothing()


@pytest.mark.long
def test_stopped_and_cancelled_all_is_saved_and_what_others_train_is_waited_for(searched: Searched) -> None:
    tune = searched(
        "a",
        {"network": {"arguments": {"how": "slow"}}, "optimisation": {"epochs": 4, "learning_rate": 1e-2}},
        space={"optimisation.learning_rate": {"choice": [1e-2, 1e-3]}},
        searcher={"name": "random", "seed": 0},
        trials=4,
    )
    process = tune.tune()
    tune.wait_until(lambda: begun(tune))
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == REQUEUE and "stopped, all saved; the same command goes on" in error
    tune.leaves_nothing()
    saved = [Run(tune.runs / run_id) for run_id in tune.ids()]
    assert all(not run.beats() for run in saved) and any(run.saved_step() for run in saved)
    assert not any(run.pruned() for run in saved) and not any(t["ended"] for t in tune.trials())

    process = tune.tune()
    tune.wait_until(lambda: begun(tune, epochs=2))
    assert tune.tune("cancel").wait(60) == 0
    assert process.wait(60) == REQUEUE
    tune.leaves_nothing()
    assert not any(t["ended"] for t in tune.trials())

    run_id = next(run.id for run in saved if run.saved_step())
    before = tune.attempts()[run_id]
    by_hand = tune.start("train", str(tune.runs / run_id / "settings.yaml"), "--runs", str(tune.runs))
    tune.wait_until(lambda: tune.attempts()[run_id] > before and Run(tune.runs / run_id).beats())
    rows = tune.rows()
    assert by_hand.wait(60) == 0
    assert [row["state"] for row in rows] == ["done"] * 4
    assert tune.attempts()[run_id] == before + 1, "somebody else trained it meanwhile"
    assert len(tune.ids()) == len({tuple(row["runs"]) for row in rows}) == 2, "points drawn twice are trained once"
    assert all(attempts <= before + 1 for attempts in tune.attempts().values())


def test_the_seeds_of_a_trial_are_pruned_as_one(searched: Searched) -> None:
    tune = searched(
        "a",
        {"optimisation": {"epochs": 24, "learning_rate": 1e-2}},  # too many for one to end before the other has begun
        space={"optimisation.learning_rate": {"choice": [1e-7]}, "network.arguments.how": {"choice": ["slow"]}},
        objective={"of": "training", "metric": "loss"},
        scheduler={"name": "asha", "grace_epochs": 2, "reduction_factor": 2},
        seeds=[0, 1],
        trials=2,
    )
    rows = tune.rows("--at-a-time", "1")
    assert [row["state"] for row in rows] == ["done", "pruned"]
    runs = [Run(tune.runs / run_id) for run_id in rows[1]["runs"]]
    assert [run.path.name.split("-s")[-1][0] for run in runs] == ["0", "1"]
    marks = [run.pruned() or {} for run in runs]
    assert [(mark["trial"], mark["epoch"]) for mark in marks] == [(1, 2), (1, 2)]
    assert not any(run.result() for run in runs)
