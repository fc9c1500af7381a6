"""Who a process is among its peers, and what they tell each other: over gloo, in processes of their own."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import SERVER

from blurtrain import distributed, rendezvous
from blurtrain.distributed import Group, RankInfo, SharedFlags, end_with_torchrun, process_group
from blurtrain.errors import TrainingError
from blurtrain.run import RENDEZVOUS
from blurtrain.settings import Settings

SETTINGS = Settings(dataset="none", regime="clear")
LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", RENDEZVOUS)
SLURM_STEP = {
    "SLURM_JOB_ID": "71",
    "SLURM_STEP_ID": "3",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}

# --- its place ------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("SLURM_") or n in LAUNCHER]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, RankInfo(0, 1, 0)),
        ({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, RankInfo(5, 8, 1)),  # torchrun
        ({"RANK": "5", "WORLD_SIZE": "8"}, RankInfo(5, 8, 0)),
        # jobs.processes: a word and no address, so that no port has to be free.
        ({"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", RENDEZVOUS: "word"}, RankInfo(1, 2, 1, "word")),
        # torchrun inside one of our SLURM jobs: its address counts.
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", RENDEZVOUS: "word"}, RankInfo(1, 2, 0)),
        (SLURM_STEP, RankInfo(5, 8, 1, "71-3-0")),  # srun
        (
            {**SLURM_STEP, "SLURM_RESTART_COUNT": "2"},
            RankInfo(5, 8, 1, "71-3-2"),
        ),  # requeued: another start
        ({**SLURM_STEP, RENDEZVOUS: "of-this-start"}, RankInfo(5, 8, 1, "of-this-start")),
        ({**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, RankInfo(0, 1, 0)),
        # torchrun inside a step of one task a node: its word counts.
        ({**SLURM_STEP, "RANK": "2", "WORLD_SIZE": "16", "LOCAL_RANK": "2"}, RankInfo(2, 16, 2)),
        # A batch script (or what submitit runs without srun) is one process, however large its job.
        ({"SLURM_JOB_ID": "71", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, RankInfo(0, 1, 0)),
    ],
)
def test_a_process_knows_its_place(
    environment: dict[str, str], place: RankInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert RankInfo.from_environment() == place


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "one", "WORLD_SIZE": "2"},
        {"RANK": "0", "WORLD_SIZE": ""},
        {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "none"},
        {**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "8(x2)"},
        *[{k: v for k, v in SLURM_STEP.items() if k != missing} for missing in SLURM_STEP if "NUM" not in missing],
    ],
)
def test_half_an_environment_is_refused_in_one_line(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(TrainingError, match="environment is incomplete") as refusal:
        RankInfo.from_environment()
    assert "\n" not in str(refusal.value)


def test_alone_nobody_is_waited_for(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    try:
        with process_group(tmp_path, threads=1) as group:
            assert (group.rank, group.world, group.is_main, torch.get_num_threads()) == (0, 1, True, 1)
            assert group.cores == len(os.sched_getaffinity(0))
            assert group.sum(torch.tensor([2.5])).tolist() == [2.5]
            assert group.broadcast("x") == "x" and group.gather("x") == ["x"]
            flags = SharedFlags(group, flags=2)
            assert [flags(True, False), flags(False, False)] == [[True, False], [False, False]]
            assert flags.drain() == [False, False]
        with process_group(tmp_path):
            assert torch.get_num_threads() == len(os.sched_getaffinity(0))
    finally:
        torch.set_num_threads(before)
    assert not torch.distributed.is_initialized() and not list(tmp_path.iterdir())


# --- several --------------------------------------------------------------------------------------------------------


def _child(
    work: Callable[[Path, int], Any], folder: Path, rank: int, environment: dict[str, str], patience: float
) -> None:
    os.environ.update(environment)
    distributed.PATIENCE = timedelta(seconds=patience)
    began = time.monotonic()
    try:
        outcome = work(folder / "runs", rank)
    except TrainingError as error:
        outcome = f"TrainingError: {error}"
    (folder / f"{rank}.json").write_text(json.dumps([outcome, time.monotonic() - began]))


def in_processes(
    work: Callable[[Path, int], Any], folder: Path, *environments: dict[str, str], patience: float = 60
) -> list[tuple[Any, float]]:
    """What one process for each environment gives, or says that went wrong, and the seconds that it took."""
    started = []
    try:
        for rank, environment in enumerate(environments):
            started.append(SERVER.Process(target=_child, args=(work, folder, rank, environment, patience)))
            started[-1].start()
        for process in started:
            process.join(90)
            assert process.exitcode == 0
    finally:
        for process in started:
            process.kill()
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(len(environments))]


def two_ranks() -> list[dict[str, str]]:
    """As torchrun would tell them."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    common = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}
    return [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]


def two_tasks() -> list[dict[str, str]]:
    """As srun would."""
    step = {**SLURM_STEP, "SLURM_STEP_NUM_TASKS": "2"}
    return [{**step, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]


def conversation(runs: Path, rank: int) -> dict[str, Any]:
    with process_group(runs) as group:
        assert group.rank == rank
        mine = torch.tensor([rank + 1.0, 10.0], dtype=torch.float64)
        return {
            "leads": group.is_main,
            "in place": group.sum(mine) is mine,
            "sum": mine.tolist(),
            "agreed": group.broadcast({"rank": rank} if group.is_main else None),
            "gathered": group.gather([rank, "x" * rank]),
            "flags": raised(group),
            "lasting flag": lasting_flag(group),
        }


def raised(group: Group) -> list[list[bool]]:
    """Rank 1 raises the first flag at the second call, rank 0 the second from the third call on, until it is known."""
    flags, wants, known = SharedFlags(group, flags=2), False, []
    for call in range(1, 8):
        time.sleep(0.02 * group.rank * (call % 2))  # they do not come at the same time
        wants = wants or (group.rank == 0 and call == 3)
        known.append(flags(group.rank == 1 and call == 2, wants))
        wants &= not known[-1][1]
    flags(group.rank == 1, False)
    return [*known, *(flags.drain() for _ in range(2)), *(flags(False, False) for _ in range(2))]


def lasting_flag(group: Group) -> list[list[bool]]:
    flags = SharedFlags(group, flags=1)
    return [*(flags(group.rank == 1) for _ in range(6)), flags.drain()]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of two had of one conversation."""
    return [outcome for outcome, _ in in_processes(conversation, tmp_path_factory.mktemp("told"), *two_ranks())]


def test_peers_sum_agree_and_gather(outcomes: list[dict[str, Any]]) -> None:
    assert [of_rank["leads"] for of_rank in outcomes] == [True, False]
    for of_rank in outcomes:
        assert of_rank["in place"] and of_rank["sum"] == [3.0, 20.0]
        assert of_rank["agreed"] == {"rank": 0} and of_rank["gathered"] == [[0, ""], [1, "x"]]


def test_a_flag_of_one_is_known_to_both_at_the_next_call_and_once(outcomes: list[dict[str, Any]]) -> None:
    first, second = (of_rank["flags"] for of_rank in outcomes)
    assert first == second
    no = [False, False]
    assert first[:7] == [no, no, [True, False], [False, True], no, no, no]
    assert first[7:] == [[True, False], no, no, no], "what was drained does not come again"


def test_a_flag_that_stays_is_raised_anew_once_it_was_known(outcomes: list[dict[str, Any]]) -> None:
    for of_rank in outcomes:
        assert of_rank["lasting flag"] == [[False], [True], [False], [True], [False], [True], [False]]


def shares(runs: Path, rank: int) -> list[list[int]]:
    """Cores and torch's threads: on those of this machine, on eight of which each may use some, on one of its own."""
    told = []

    def join() -> None:
        os.environ["SLURM_STEP_ID"] = str(len(told))
        with process_group(runs) as group:
            told.append([group.cores, torch.get_num_threads()])

    join()
    real = distributed.cores
    for some in (range(8), set(range(8)) - {7 * rank}, range(4 * rank, 4 * rank + 4)):
        distributed.cores = lambda some=some: set(some)  # type: ignore[attr-defined]
        join()
    distributed.cores = real  # type: ignore[attr-defined]
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[rank % len(mine)]})
    join()
    return told


def test_cores_are_shared_by_those_that_may_use_the_same_ones(tmp_path: Path) -> None:
    half = max(1, len(os.sched_getaffinity(0)) // 2)
    for told, _ in in_processes(shares, tmp_path, *two_tasks()):
        assert told == [[half, half], [4, 4], [3, 3], [4, 4], [1, 1]]
    assert not list((tmp_path / "runs" / ".rendezvous").iterdir())


def listening(runs: Path, rank: int) -> list[str]:
    """Addresses, in hex, at which this process listens on a port that the leader's file names."""
    files = list((runs / ".rendezvous").glob("*.json"))
    ports = {f"{json.loads(file.read_text())['port']:04X}" for file in files}
    lines = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    return [line[1].split(":")[0] for line in lines if line[3] == "0A" and line[1].split(":")[1] in ports]


@pytest.mark.slow
def test_on_one_host_the_rendezvous_listens_on_the_loopback_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**two_tasks()[0], "SLURM_STEP_NUM_NODES": "1"}.items():
        monkeypatch.setenv(name, value)
    found = list[list[str]]()
    publish = rendezvous.publish

    def published(file: Path, content: str) -> None:
        publish(file, content)
        found.append(listening(tmp_path, 0))
        raise RuntimeError("seen enough")

    monkeypatch.setattr(rendezvous, "publish", published)
    with pytest.raises(TrainingError, match="seen enough"), process_group(tmp_path):
        pass
    assert found == [["0100007F"]]


def join(runs: Path, rank: int) -> None:
    with process_group(runs):
        pass


@pytest.mark.slow
def test_peers_that_never_come_are_an_error_and_no_hang(tmp_path: Path) -> None:
    leader, other = two_ranks()
    task, of_another_step = two_tasks()
    alone = [
        leader,
        {**other, "MASTER_PORT": two_ranks()[0]["MASTER_PORT"]},
        task,
        {**of_another_step, "SLURM_STEP_ID": "4"},
        {"RANK": "0", "WORLD_SIZE": "2"},  # and no address
    ]
    ended = in_processes(join, tmp_path, *alone, patience=1)
    said = [outcome for outcome, _ in ended]
    assert all(words.startswith("TrainingError: ") and "\n" not in words for words in said)
    for k, rank in ((0, 0), (1, 1), (2, 0), (4, 0)):
        assert f"rank {rank} of 2 cannot join its peers" in said[k]
    assert "rank 1 did not come within 0:00:01; that there are 2 processes is what RANK and WORLD_SIZE" in said[0]
    assert "rank 0 at 127.0.0.1:" in said[1] and "is what the SLURM_* variables of the step say" in said[2]
    assert "rank 1 of 2" in said[3] and "71-4-0.json) did not come within 0:00:01" in said[3]
    assert "MASTER_ADDR is not set" in said[4]


@pytest.mark.parametrize("rank", ["0", "1"])
@pytest.mark.parametrize("by", ["address", "file"])
def test_who_waits_for_peers_says_so_and_hears_ctrl_c(
    rank: str, by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ranks = two_ranks()[int(rank)] if by == "address" else {"RANK": rank, "WORLD_SIZE": "2", RENDEZVOUS: "a-word"}
    for name in LAUNCHER:
        monkeypatch.delenv(name, raising=False)
    for name, value in ranks.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rendezvous, "_SAY_AFTER", 0.0)
    monkeypatch.setattr(distributed, "PATIENCE", timedelta(seconds=20))

    def interrupt() -> None:
        """As soon as it has said so, which takes as long as its imports."""
        end = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < end:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background has not
    try:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt), process_group(tmp_path):
            pass
    finally:
        signal.signal(signal.SIGINT, before)
    (line,) = caplog.messages
    assert line.startswith(f"rank {rank} of 2 waits for rank {1 - int(rank)}")
    assert line.endswith("that there are 2 processes is what RANK and WORLD_SIZE in the environment say")


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGKILL])
def test_a_process_of_torchrun_is_asked_to_stop_when_that_is_gone(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun handles neither of them, and leaves its processes behind."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    said, saying = os.pipe()
    if not (launcher := os.fork()):
        if not os.fork():
            signal.signal(signal.SIGTERM, lambda *_: os._exit(os.write(saying, b"asked") * 0))
            end_with_torchrun()
            os.write(saying, b"ready ")
            signal.alarm(60)
            while True:
                signal.pause()
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        signal.pause()
        os._exit(1)
    os.close(saying)
    assert os.read(said, 6) == b"ready "
    os.kill(launcher, number)
    assert os.WTERMSIG(os.waitpid(launcher, 0)[1]) == number
    assert os.read(said, 5) == b"asked"
    os.close(said)
