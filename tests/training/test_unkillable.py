"""Runs that are killed, stopped or damaged at chosen moments, in real processes: they end with the same bits."""

import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from processes import Training, codes, run, start

from blurtrain.errors import REQUEUE
from blurtrain.run import RENDEZVOUS, Run
from blurtrain.settings import Settings

Tiny = Callable[..., Settings]
pytestmark = pytest.mark.slow
EPOCHS = 3
STEPS = 3  # in an epoch of `tiny`


@pytest.fixture(scope="module")
def settings(tiny: Tiny) -> Settings:
    return tiny(
        regime="blurry-to-clear",
        curriculum={"schedule": "stepwise", "sigmas": [8, 0]},
        augmentation={"colour": 0.5, "erasing": 0.5},
        optimisation={"epochs": EPOCHS, "batch_size": 8},
        evaluation={"batch_size": 4},
        checkpoints={"every_minutes": 0},
        loader={"threads": 1},
        logging={"every_steps": 1},
    )


@pytest.fixture(scope="module")
def undisturbed(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Run]:
    """The run that nobody disturbed, on one process and on two."""
    runs = {}
    for world in (1, 2):
        folder = tmp_path_factory.mktemp("undisturbed") / str(world)
        assert codes(run(*[Training(settings, folder)] * world)) == [0] * world
        runs[world] = only_run(folder)
    return runs


def only_run(folder: Path) -> Run:
    return Run(next(p.parent for p in folder.glob("*/settings.yaml")))


def outcome(run: Run) -> tuple[bytes, bytes]:
    result = run.result()
    assert result is not None
    return run.weights.read_bytes(), (run.evaluations / result["accuracy"]).read_bytes()


def history(run: Run) -> list[tuple[int, float]]:
    """Step and loss of all that the journal has, each once."""
    return [(event["at"], event["loss"]) for event in run.journal() if event["event"] == "step"]


def saved_steps(run: Run) -> list[int]:
    return sorted(int(p.name.split("-")[1]) for p in run.checkpoints.glob("*.pt"))


@pytest.mark.parametrize(
    ("point", "n"),
    [
        ("step", 1),  # before anything is saved
        ("step", STEPS + 2),  # inside an epoch
        ("save", STEPS + 1),  # half of a checkpoint is written
        ("saved", STEPS),  # a checkpoint is whole, the older ones are not removed yet
        ("evaluation", 2),
        ("result", 1),  # all is measured, nothing is published
    ],
)
def test_killed_and_started_again_it_ends_with_the_same_bits(
    settings: Settings, undisturbed: dict[int, Run], tmp_path: Path, point: str, n: int
) -> None:
    ((code, words),) = run(Training(settings, tmp_path / "runs", point, n))
    assert code == -signal.SIGKILL, words
    killed = only_run(tmp_path / "runs")
    assert killed.result() is None
    ((code, words),) = run(Training(settings, tmp_path / "runs"))
    assert code == 0, words
    assert outcome(killed) == outcome(undisturbed[1])
    assert history(killed) == history(undisturbed[1])
    assert len(killed.attempts()) == 2 and not list(killed.checkpoints.glob(".*"))


@pytest.mark.parametrize("rank", [0, 1])
def test_one_rank_of_two_is_killed(settings: Settings, undisturbed: dict[int, Run], tmp_path: Path, rank: int) -> None:
    both = [Training(settings, tmp_path / "runs")] * 2
    ended = run(*(replace(t, point="step", n=STEPS + 2) if k == rank else t for k, t in enumerate(both)))
    assert ended[rank][0] == -signal.SIGKILL
    code, words = ended[1 - rank]
    assert code == 2 and "lost its peers" in words and "Traceback" not in words
    killed = only_run(tmp_path / "runs")
    assert killed.result() is None and saved_steps(killed), "killed too early to show anything"
    assert codes(run(*both)) == [0, 0]
    assert outcome(killed) == outcome(undisturbed[2])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_to_one_rank_stops_all_at_the_same_step(
    settings: Settings, undisturbed: dict[int, Run], tmp_path: Path, number: signal.Signals
) -> None:
    seldom = seldom_saved(settings)
    both = [Training(seldom, tmp_path / "runs"), Training(seldom, tmp_path / "runs", "step", STEPS + 1, number)]
    ended = run(*both)
    assert codes(ended) == [REQUEUE, REQUEUE], ended
    assert f"stopped by {number.name}" in ended[1][1] and "stopped by a signal to another" in ended[0][1]
    stopped = only_run(tmp_path / "runs")
    told = [e for e in stopped.journal() if e["event"] in ("step", "stopped")]
    assert [e["event"] for e in told] == ["step"] * (len(told) - 1) + ["stopped"]
    assert saved_steps(stopped) == [told[-2]["at"]] == [STEPS + 2], "known to all one step later"
    assert codes(run(*(replace(t, point="") for t in both))) == [0, 0]
    assert outcome(stopped) == outcome(undisturbed[2])


def seldom_saved(settings: Settings) -> Settings:
    rarely = settings.checkpoints.model_copy(update={"every_minutes": 60.0})
    return settings.model_copy(update={"checkpoints": rarely})


def test_asked_to_stop_while_it_waits_for_its_peers_it_ends_at_once(settings: Settings, tmp_path: Path) -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", RENDEZVOUS: "alone"}
    (waiting,) = start(Training(settings, tmp_path / "runs", environment=environment))
    deadline = time.monotonic() + 60
    while not (tmp_path / "runs" / ".rendezvous" / "alone.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.5)  # into the wait, most likely; before it a signal does the same
    waiting.process.terminate()
    assert waiting.wait(30)[0] == -signal.SIGTERM
    assert not [path for path in (tmp_path / "runs").iterdir() if path.name != ".rendezvous"]


def test_stopped_in_the_evaluation_it_needs_no_step_again(
    settings: Settings, undisturbed: dict[int, Run], tmp_path: Path
) -> None:
    training = Training(seldom_saved(settings), tmp_path / "runs", "evaluation", 1, signal.SIGTERM)
    ((code, words),) = run(training)
    assert code == REQUEUE, words
    stopped = only_run(tmp_path / "runs")
    assert stopped.result() is None and saved_steps(stopped) == [EPOCHS * STEPS]
    assert codes(run(replace(training, point=""))) == [0]
    assert outcome(stopped) == outcome(undisturbed[1])
    second = (stopped.attempts()[1] / "journal.jsonl").read_text()
    assert '"event": "step"' not in second and '"event": "epoch"' not in second


def test_a_full_disk_leaves_the_last_good_checkpoint(
    settings: Settings, undisturbed: dict[int, Run], tmp_path: Path
) -> None:
    runs = tmp_path / "small" / "runs"
    runs.parent.mkdir()
    size = 3 * len(undisturbed[1].weights.read_bytes())  # one checkpoint fits (weights and Adam's two averages)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={int(1.5 * size)}", "tmpfs", str(runs.parent)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a small file system of its own: mount is not allowed here")
    try:
        ((code, words),) = run(Training(settings, runs))
        assert code == 2, words
        assert "No space left on device" in words and "checkpoints/step-" in words and "Traceback" not in words
        full = only_run(runs)
        assert saved_steps(full) == [1] and not list(full.checkpoints.glob(".*"))
        roomy = ["mount", "-o", f"remount,size={10 * size}", str(runs.parent)]
        subprocess.run(roomy, check=True)
        assert codes(run(Training(settings, runs))) == [0]
        assert outcome(full) == outcome(undisturbed[1])
    finally:
        subprocess.run(["umount", str(runs.parent)], check=True)


def test_slurm_tasks_find_each_other_without_being_told_an_address(
    settings: Settings, undisturbed: dict[int, Run], tmp_path: Path
) -> None:
    tasks = []
    for rank in range(2):
        step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_LOCALID": str(rank)}
        tasks.append(Training(settings, tmp_path / "runs", environment={**step, "SLURM_PROCID": str(rank)}))
    assert codes(run(*tasks)) == [0, 0]
    assert outcome(only_run(tmp_path / "runs")) == outcome(undisturbed[2])
    assert not list((tmp_path / "runs" / ".rendezvous").iterdir())
