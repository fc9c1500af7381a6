"""The simulator behaves as a cluster does, good days and bad, and leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from simulated import SIMULATOR, Cluster, new_directory, simulator, take_down, wait

pytestmark = pytest.mark.slurm

ALL = "0,1,2,3,4,5,6,7"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_two_nodes_eight_gpus_each(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "srun bash -c 'echo $(hostname) $SLURM_LOCALID $CUDA_VISIBLE_DEVICES'"
    options = ("--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8")
    quiet.await_state(quiet.submit(*options, script=script, output=out), "COMPLETED")
    assert sorted(lines(out)) == sorted(f"{node} {rank} {ALL}" for node in ("node1", "node2") for rank in range(8))


def test_jobs_on_one_node_get_different_gpus(quiet: Cluster, tmp_path: Path) -> None:
    options = ("--nodelist=node2", "--gpus-per-node=2", "--cpus-per-task=4")
    jobs = [
        quiet.submit(*options, script="echo $CUDA_VISIBLE_DEVICES; sleep 600", output=tmp_path / f"{i}")
        for i in range(3)
    ]
    wait("all to run", lambda: all(lines(tmp_path / f"{i}") for i in range(3)))
    assert [quiet.job(job)["JobState"] for job in jobs] == ["RUNNING"] * 3
    assert sorted(lines(tmp_path / f"{i}")[0] for i in range(3)) == ["0,1", "2,3", "4,5"]


def test_nodes_have_their_own_processes_but_the_hosts_files(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"cat /proc/1/cmdline | tr '\\0' '\\n' | tail -n 1; getent hosts node3 | wc -l; ls {Path(__file__)}"
    quiet.await_state(quiet.submit("--nodelist=node4", script=script, output=out), "COMPLETED")
    assert lines(out) == ["node4", "1", str(Path(__file__))]


def test_array(quiet: Cluster, tmp_path: Path) -> None:
    job = quiet.submit("--array=0-9%4", "--gpus-per-node=4", script=f"touch {tmp_path}/$SLURM_ARRAY_TASK_ID")
    wait("all ten", lambda: not quiet.run("squeue", "--noheader", f"--jobs={job}"))
    assert {path.name for path in tmp_path.iterdir()} == {str(i) for i in range(10)}


def test_requeue(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = quiet.submit("--open-mode=append", script=f"echo ${{SLURM_RESTART_COUNT:-0}} >> {out}; sleep 600")
    wait("the first attempt", lambda: lines(out) == ["0"])
    quiet.run("scontrol", "requeue", job)
    wait("the second", lambda: lines(out) == ["0", "1"], 30)
    assert quiet.job(job)["Restarts"] == "1"


def test_urgent_preempts_preemptible_with_a_signal_first(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    task = f"""trap 'echo USR2 >> {out}' USR2; echo start >> {out}; while :; do sleep 0.2; done"""
    # Like submitit's: the signal goes to the tasks that srun started.
    options = ("--partition=preemptible", "--signal=USR2@90", "--nodes=4", "--gpus-per-node=8", "--time=60")
    preempted = quiet.submit(*options, script=f'srun --nodes=1 --ntasks=1 bash -c "{task}"')
    wait("the preemptible job to run", lambda: lines(out) == ["start"])
    urgent = quiet.submit("--partition=urgent", "--gpus-per-node=8", script="sleep 1")
    wait("the signal", lambda: lines(out) == ["start", "USR2"], 10)
    assert quiet.job(preempted)["JobState"] == "RUNNING"  # it has the grace time to save
    quiet.await_state(urgent, "RUNNING", "COMPLETED", seconds=30)
    wait("it to start again", lambda: lines(out) == ["start", "USR2", "start"], 40)
    assert quiet.job(preempted)["Restarts"] == "1"
    assert quiet.job(urgent)["JobState"] == "COMPLETED"


def test_time_limit_signals_ahead(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = "trap 'echo USR2; exit 0' USR2\necho start\nwhile :; do sleep 0.2; done"
    # 90 s before the end of a one-minute job is at its start; SLURM looks at its jobs' clocks every 30 s.
    job = quiet.submit("--time=1", "--signal=B:USR2@90", script=script, output=out)
    assert quiet.await_state(job, "COMPLETED", seconds=45)["TimeLimit"] == "00:01:00"
    assert lines(out) == ["start", "USR2"]


def test_power_failure_requeues(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = quiet.submit("--nodes=2", "--gpus-per-node=8", script=f"hostname >> {out}; srun sleep 600")
    wait("the job to run", lambda: lines(out) == ["node1"])
    quiet.fault("node-kill", "node2")
    try:
        quiet.await_state(job, "PENDING", seconds=60)
        assert quiet.node_state("node2") == "down*"
        wait("it to run elsewhere", lambda: len(lines(out)) == 2, 30)
        assert "node2" not in quiet.run("squeue", "--noheader", f"--jobs={job}", "--format=%N")
    finally:
        quiet.fault("node-up", "node2")
    wait("the node to be back", lambda: quiet.node_state("node2") in ("idle", "allocated"))


def test_slurmd_dies_and_its_job_lives(quiet: Cluster, tmp_path: Path) -> None:
    out = tmp_path / "out"
    job = quiet.submit("--nodelist=node1", script=f"echo start >> {out}; sleep 4; echo end >> {out}")
    wait("the job to run", lambda: lines(out) == ["start"])
    quiet.fault("slurmd-kill", "node1")
    quiet.fault("slurmd-up", "node1")
    quiet.await_state(job, "COMPLETED")
    assert lines(out) == ["start", "end"]


def test_cut_link_splits_the_brain(quiet: Cluster, tmp_path: Path) -> None:
    if not quiet.network:
        pytest.skip("network namespaces are not permitted here")
    out = tmp_path / "out"
    script = f"while :; do echo $(hostname) >> {out}; sleep 0.2; done"
    job = quiet.submit("--gpus-per-node=8", script=script)
    wait("the job to run", lambda: lines(out))
    first = lines(out)[0]
    quiet.fault("node-cut", first)
    try:
        quiet.await_state(job, "PENDING", seconds=60)
        wait("it to run elsewhere", lambda: set(lines(out)) != {first}, 30)
        out.unlink()
        wait("both to write", lambda: len(set(lines(out))) == 2, 10)
    finally:
        quiet.fault("node-heal", first)
    wait("the node to be back", lambda: quiet.node_state(first) == "idle")

    def stray_is_gone() -> bool:
        out.unlink()
        return bool(wait("the job to write", lambda: len(lines(out)) > 5)) and first not in lines(out)

    wait("the stray to be killed", stray_is_gone, 30)
    assert quiet.job(job)["JobState"] == "RUNNING"


def test_controller_dies_and_jobs_live(quiet: Cluster, tmp_path: Path) -> None:
    running = quiet.submit("--nodes=4", "--gpus-per-node=8", script="sleep 12")
    waiting = quiet.submit("--gpus-per-node=8", script="true")
    started = float(quiet.run("date", "-d", quiet.await_state(running, "RUNNING")["StartTime"], "+%s"))
    saved = quiet.directory / "state" / "job_state"
    wait("SLURM to save its state", lambda: saved.exists() and saved.stat().st_mtime > started + 1, 20)
    quiet.fault("ctld-kill")
    with pytest.raises(subprocess.CalledProcessError):
        quiet.run("timeout", "3", "squeue")
    quiet.fault("ctld-up")
    quiet.await_state(running, "COMPLETED", seconds=30)
    assert quiet.job(running)["Restarts"] == "0"
    quiet.await_state(waiting, "COMPLETED", seconds=30)


def test_sacct_tells_how_jobs_ended(quiet: Cluster) -> None:
    done = quiet.submit("--gpus-per-node=3", script="true")
    failed = quiet.submit(script="exit 3")
    cancelled = quiet.submit(script="sleep 600")
    quiet.await_state(cancelled, "RUNNING")
    quiet.run("scancel", cancelled)

    def rows() -> dict[str, list[str]]:
        columns = "--format=JobID,State,ExitCode,AllocTRES%80"
        jobs = f"--jobs={done},{failed},{cancelled}"
        text = quiet.run("sacct", "--allocations", "--noheader", "--parsable2", jobs, columns)
        return {row.split("|")[0]: row.split("|")[1:] for row in text.splitlines()}

    def ended() -> bool:
        states = [rows().get(job, [""])[0].split(" by ")[0] for job in (done, failed, cancelled)]
        return states == ["COMPLETED", "FAILED", "CANCELLED"]

    wait("sacct to know", ended, 20)
    assert rows()[failed][1] == "3:0"
    assert "gres/gpu=3" in rows()[done][2]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--partition=nosuch", "invalid partition"),
        ("--account=nobody", "Invalid account"),
        ("--time=30-0", "Requested time limit is invalid"),
        ("--nodes=5", "Node count specification invalid"),
        ("--gpus-per-node=9", "Requested node configuration is not available"),
        ("--array=0-1001", "Invalid job array specification"),
        ("--partition=quota --array=0-4", "QOSMaxSubmitJobPerUserLimit"),
    ],
)
def test_refused(quiet: Cluster, options: str, reason: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        quiet.run("sbatch", *options.split(), "--wrap=true")
    assert reason in refusal.value.stderr


def test_quota_admits_what_is_within(quiet: Cluster) -> None:
    quiet.submit("--partition=quota", "--array=0-2", "--begin=now+1hour", script="true")
    quiet.submit("--partition=quota", "--begin=now+1hour", script="true")
    with pytest.raises(AssertionError, match="QOSMaxSubmitJobPerUserLimit"):
        quiet.submit("--partition=quota", script="true")


def test_submitit(quiet: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit")
    for name, value in quiet.env.items():
        monkeypatch.setenv(name, value)

    def where(number: int) -> tuple[str, int, str]:
        return os.uname().nodename, number, os.environ["CUDA_VISIBLE_DEVICES"]

    executor = submitit.AutoExecutor(folder=tmp_path, cluster="slurm")
    executor.update_parameters(
        timeout_min=5, nodes=1, gpus_per_node=8, slurm_partition="gpu", slurm_array_parallelism=2
    )
    jobs = executor.map_array(where, [1, 2, 3])
    wait("three jobs", lambda: not quiet.run("squeue", "--noheader"), 60)
    assert [(n, gpus) for _, n, gpus in (job.result() for job in jobs)] == [(1, ALL), (2, ALL), (3, ALL)]


# Coming and going


@pytest.fixture
def place(cluster: Cluster) -> Iterator[Path]:
    """A directory for a second cluster, beside the session's; taken down after the test in any case."""
    directory = new_directory()
    yield directory
    take_down(directory)


def processes() -> Iterator[tuple[str, set[Path]]]:
    """The command line and the namespaces of every process of the host."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            kinds = ("pid", "mnt", "net", "uts", "ipc")
            yield (process / "cmdline").read_text(), {(process / "ns" / kind).readlink() for kind in kinds}


def namespaces_of(directory: Path) -> set[Path]:
    """The namespaces, other than the host's, of the processes that have a cluster's directory on the command line."""
    shared = next(namespaces for _, namespaces in processes())  # /proc lists this host's first process first
    return {n for command, namespaces in processes() if str(directory) in command for n in namespaces} - shared


def left_in(namespaces: set[Path]) -> list[str]:
    """The processes that are in one of `namespaces`."""
    return [command for command, of_process in processes() if of_process & namespaces]


def assert_nothing_left(directory: Path, namespaces: set[Path], address: str) -> None:
    assert not directory.exists()
    assert not namespaces_of(directory)
    assert not left_in(namespaces)
    assert str(directory) not in Path("/proc/self/mounts").read_text()
    assert address not in subprocess.run(["ip", "addr"], capture_output=True, text=True, check=True).stdout


def test_down_leaves_nothing_even_after_faults(cluster: Cluster, place: Path) -> None:
    options = ["--network"] if cluster.network else []
    done = simulator("up", "--dir", str(place), "--nodes", "3", "--gpus", "2", *options)
    assert (done.returncode, done.stdout.strip()) == (0, str(place))
    second = Cluster(place, {**os.environ, "SLURM_CONF": f"{place}/etc/slurm.conf"}, cluster.network)
    second.await_state(second.submit("--nodes=3", script="srun sleep 600"), "RUNNING")
    second.fault("node-kill", "node1")
    second.fault("slurmd-kill", "node2")
    if second.network:
        second.fault("node-cut", "node3")
    second.fault("ctld-kill")
    status = second.fault("status").splitlines()
    assert "slurmctld  DOWN" in status
    assert status[-3].startswith("node1      powered OFF")
    assert status[-2].startswith("node2      slurmd DOWN")
    assert status[-1].startswith("node3      slurmd running" + (", link CUT" if second.network else ""))

    again = simulator("up", "--dir", str(place))
    assert (again.returncode, again.stderr) == (1, f"simulator: a simulator is up in {place} already\n")

    layout = json.loads((place / "settings.json").read_text())["layout"]
    address = layout["host"] if cluster.network else "127.64.0."
    namespaces = namespaces_of(place)
    assert len(left_in(namespaces)) > 8
    assert simulator("down", "--dir", str(place)).returncode == 0
    assert_nothing_left(place, namespaces, address)
    assert simulator("down", "--dir", str(place)).returncode == 0
    assert cluster.run("sinfo", "--noheader", "--format=%D", "--partition=gpu") == "4"  # the other one is unharmed


def test_a_starter_that_was_killed_is_cleaned_up_after(cluster: Cluster, place: Path) -> None:
    starter = subprocess.Popen([sys.executable, SIMULATOR, "up", "--dir", place], stderr=subprocess.DEVNULL)
    wait("it to be half way", lambda: (place / "run" / "mysql.socket").exists(), 30)
    meanwhile = simulator("up", "--dir", str(place))
    assert "is at work in" in meanwhile.stderr
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    assert simulator("up", "--dir", str(place), "--nodes", "1").returncode == 0
    daemons = [command for command, _ in processes() if command.startswith("munged") and str(place) in command]
    assert len(daemons) == 1
    namespaces = namespaces_of(place)
    assert simulator("down", "--dir", str(place)).returncode == 0
    assert_nothing_left(place, namespaces, "127.64.0.")


def test_another_directory_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    for command in ("up", "down"):
        simulator(command, "--dir", str(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
