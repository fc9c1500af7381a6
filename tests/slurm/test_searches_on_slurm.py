"""Searches as jobs of the simulated cluster, on good days and bad: each trial's runs are trained once, with the bits of
a search that is left in peace on this machine."""

import contextlib
import json
import signal
import sys
from pathlib import Path

import pytest
from outcomes import Outcome, assert_fenced, events
from searches import SmallSearch, stop_in_the_middle
from simulated import Cluster, wait

from blurtrain.data.dataset import Dataset
from blurtrain.files import is_held

pytestmark = pytest.mark.slurm
EPOCHS = 24
OTHERS_RAY = """
import os, sys, time, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
@ray.remote
class Counter:
    n = 0
    def add(self):
        self.n += 1
        return self.n
counter = Counter.remote()
while not os.path.exists(sys.argv[1] + "/end"):
    count = ray.get(counter.add.remote())
    open(sys.argv[1] + "/begun", "w").write(str(count))
    time.sleep(0.1)
open(sys.argv[1] + "/count", "w").write(f"{count} {ray.get(counter.add.remote())}")
ray.shutdown()
"""


def outcomes(search: SmallSearch) -> dict[str, Outcome]:
    """What has become of its runs, and that each was trained once."""
    for run in search.all_runs():
        attempts = [events(attempt) for attempt in run.attempts()]
        assert [e["event"] for journal in attempts for e in journal].count("done") == 1
        assert_fenced(run)
    return {run.id: Outcome.of(run) for run in search.all_runs()}


def left_of(jobs: list[str]) -> list[str]:
    """The processes of these jobs."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (process / "environ").read_text(errors="replace").split("\0")
            if any(f"SLURM_JOB_ID={job}" in variables for job in jobs):
                found.append((process / "cmdline").read_text())
    return found


def test_searches_on_good_days_and_bad(quiet: Cluster, prepared: Dataset, tmp_path: Path) -> None:
    before = {*Path("/tmp").glob("bt-*")}

    def search(name: str, **profile: object) -> SmallSearch:
        return SmallSearch.write(quiet, tmp_path / name, prepared, EPOCHS, profile)

    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "count.py").write_text(OTHERS_RAY)
    others = quiet.submit(
        "--nodelist=node1",
        script=f"HOME={tmp_path}/others {sys.executable} {tmp_path}/others/count.py {tmp_path}/others",
        output=tmp_path / "others" / "log",
    )
    beside = {"nodelist": "node1,node2"}
    killed = search("killed", sbatch=beside)
    cancelled = search("cancelled", sbatch=beside)
    preempted = search("preempted", partition="preemptible", sbatch=beside)
    dark = search("dark", sbatch={"nodelist": "node3,node4"})
    every = {s: s.begin() for s in (killed, cancelled, preempted, dark)}
    again = killed.submit()
    assert (again.returncode, again.stdout) == (0, "") and "nothing was submitted" in again.stderr
    wait("others' Ray", (tmp_path / "others" / "begun").exists, 300)

    stop_in_the_middle(list(every))
    driver = json.loads((killed.study / "driver.json").read_text())
    quiet.fault("node-exec", driver["host"], "kill", "-9", str(driver["pid"]))
    quiet.fault("node-kill", "node4")
    for each in (killed, dark):
        each.send(signal.SIGCONT)
    assert cancelled.call("cancel").returncode == 0
    urgent = quiet.submit(
        "--partition=urgent", "--nodelist=node1,node2", "--nodes=2", "--gpus-per-node=7", script="sleep 1"
    )
    quiet.await_state(urgent, "RUNNING", "COMPLETED", seconds=90)
    wait("the dark node to be missed", lambda: quiet.job(every[dark])["Restarts"] != "0", 90)
    quiet.fault("node-up", "node4")
    wait("the cancelled one to end", lambda: quiet.job(every[cancelled])["JobState"] == "CANCELLED", 60)
    assert {row["ended"] for row in cancelled.rows()} <= {"", "done"}
    every[cancelled] = cancelled.begin()
    wide = SmallSearch.write(
        quiet, tmp_path / "wide", prepared, 2, {},
        trials=1, resources={"gpus": 2}, allocation={"nodes": 1, "gpus": 2},
    )  # fmt: skip
    last = wide.begin()

    for each in every:
        each.await_results()
    (tmp_path / "others" / "end").touch()
    for job in (*every.values(), last, others):
        quiet.await_state(job, "COMPLETED", seconds=120)
    assert {s.folder.name: quiet.job(job)["Restarts"] for s, job in every.items()} == {
        "killed": "1", "cancelled": "0", "preempted": "1", "dark": "1",
    }  # fmt: skip
    first, second = (tmp_path / "others" / "count").read_text().split()
    assert int(second) == int(first) + 1  # the same actor, all the time

    undisturbed = search("undisturbed")
    assert (done := undisturbed.call(cluster="local")).returncode == 0, done.stderr
    for each in every:
        assert {row["state"] for row in each.rows()} == {"done"}
        assert outcomes(each) == outcomes(undisturbed), each.folder.name
        assert len(each.hosts()) == 2
        assert list((each.folder / "home").iterdir()) == []
        assert not list((each.study / "nodes").iterdir())
        done = each.submit()
        assert done.returncode == 0 and "best.yaml" in done.stdout
    (run,) = wide.all_runs()
    assert [e["world"] for attempt in run.attempts() for e in events(attempt) if e["event"] == "start"] == [2]
    assert [row["state"] for row in wide.rows()] == ["done"]
    assert not quiet.run("squeue", "--noheader")
    # Searches of other people on this host have such folders, too, as long as they live.
    wait("no folder to be left", lambda: all(is_held(p / "owner") for p in {*Path("/tmp").glob("bt-*")} - before), 30)
    assert left_of([*every.values(), last]) == []
