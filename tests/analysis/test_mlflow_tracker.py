"""Runs in MLflow, read back by its own client."""

import math
import shutil
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from journalled_runs import expected, journal, looked, own_measure, start, trained

from analysis.trackers.track import track
from analysis.trackers.tracked_run import TrackedRun
from analysis.trackers.tracker import Written
from blurtrain.cli import main
from blurtrain.errors import BlurtrainError, RunError, SettingsError

pytest.importorskip("mlflow")
pytestmark = pytest.mark.slow  # its database takes seconds to make

MakeRun = Callable[..., str]
Read = Callable[[], dict[str, Any]]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as MLflow makes it, which takes it seconds."""
    folder = tmp_path_factory.mktemp("empty")
    assert list(track([], "mlflow", folder)) == []
    return folder / "mlflow.db"


@pytest.fixture
def out(tmp_path: Path, empty: Path) -> Path:
    """A folder whose name an address has to quote."""
    folder = tmp_path / "50% of runs? #2"
    folder.mkdir()
    shutil.copy(empty, folder)
    return folder


@pytest.fixture
def read(out: Path) -> Iterator[Read]:
    """The tracker's runs by name."""
    from urllib.parse import quote

    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{quote(str(out / 'mlflow.db'))}")

    def read() -> dict[str, Any]:
        (experiment,) = client.search_experiments(filter_string="name = 'blurtrain'")
        found = client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in found}) == len(found)
        read.histories = {  # type: ignore[attr-defined]
            run.info.run_name: [
                one for name in run.data.metrics for one in client.get_metric_history(run.info.run_id, name)
            ]
            for run in found
        }
        return {run.info.run_name: run for run in found}

    yield read


def points(read: Read, name: str) -> dict[tuple[str, int], float]:
    """Of a run; none may be there twice."""
    read()
    history = read.histories[name]  # type: ignore[attr-defined]
    assert len({(one.key, one.step) for one in history}) == len(history)
    return {(one.key, one.step): one.value for one in history}


def one(found: tuple[Path, tuple[TrackedRun, Written] | BlurtrainError]) -> Written:
    assert not isinstance(found[1], BlurtrainError), found[1]
    return found[1][1]


def test_every_number_of_the_journal_is_there_with_settings_tags_and_results(
    runs: Path, make_run: MakeRun, out: Path, read: Read
) -> None:
    name = make_run(runs, counts={0.0: 43, 8.0: 20}, n=86, seed=5)
    journal(
        runs / name, start(), *map(trained, (1, 2, 3)), looked(3), {"event": "done", "time": "2026-11-28T11:00:00Z"}
    )
    own_measure(runs / name, [{"metric": "gap[of=3]", "value": 0.5, "blur": "disk-4@384", "sigma": None, "n": 80}])
    (written,) = map(one, track([runs / name], "mlflow", out))
    assert (written.epochs, written.results, written.differing) == (3, 8, ())
    run, found = read()[name], points(read, name)
    assert {key: value for key, value in found.items() if not key[0].startswith("test/")} == expected(runs / name)
    assert found["test/top1/sharp", 60] == 50 and found["test/top1/n", 60] == 86
    assert (
        found["test/gap.gap:5b:of:is:3:5d:/disk-4:at:384", 60] == 0.5
        and found["test/gap.gap:5b:of:is:3:5d:/n", 60] == 80
    )
    assert run.data.params["optimisation.batch_size"] and run.data.params["regime"] == "clear"
    assert {run.data.tags[tag] for tag in ("dataset", "regime", "seed", "state")} == {"faces", "clear", "5", "done"}
    assert run.data.tags["blurtrain.run_id"] == name and run.info.status == "FINISHED"
    times = {one.timestamp for one in read.histories[name] if one.step == 2}  # type: ignore[attr-defined]
    assert times == {round(1000 * datetime.fromisoformat(trained(2)["time"]).timestamp())}
    assert run.info.end_time == round(1000 * datetime.fromisoformat("2026-11-28T11:00:00Z").timestamp())


def test_again_adds_nothing_and_what_has_grown_what_is_new(
    runs: Path, make_run: MakeRun, out: Path, read: Read
) -> None:
    name, other = make_run(runs, done=False), make_run(runs, done=False, regime="blurry")
    for run in (name, other):
        journal(runs / run, start(), trained(1), trained(2))
    assert [one(found).epochs for found in track([runs / name, runs / other], "mlflow", out)] == [2, 2]
    first = points(read, name)
    assert [one(found).epochs for found in track([runs / name, runs / other], "mlflow", out)] == [0, 0]
    assert points(read, name) == first == expected(runs / name) and len(read()) == 2
    journal(runs / name, looked(2), trained(3))
    (written,) = map(one, track([runs / name], "mlflow", out))
    assert written.epochs == 2  # of the second, the look at the val split
    assert points(read, name) == expected(runs / name) != first
    assert read()[name].info.status == "SCHEDULED"
    journal(runs / name, {"event": "failed", "error": "DataError", "message": "gone"})
    (written,) = map(one, track([runs / name], "mlflow", out))
    assert (written.epochs, read()[name].info.status, read()[name].data.tags["state"]) == (0, "FAILED", "failed")


def test_numbers_that_the_tracker_has_otherwise_stay_and_are_said(
    runs: Path, make_run: MakeRun, out: Path, read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    name = make_run(runs, done=False)
    journal(runs / name, start(), trained(1), trained(2))
    list(track([runs / name], "mlflow", out))
    journal(runs / name, start(1), trained(2, loss=0.75, images_per_second=1.0), trained(3, loss=math.nan), attempt=2)
    with pytest.raises(SystemExit) as caught:
        main(["track", str(runs), "--to", "mlflow", "--out", str(out)])
    stdout, stderr = capsys.readouterr()
    assert caught.value.code in (0, None) and stdout == f"{runs / name}: new epochs: 1, new results: 0\n"
    assert f"{runs / name}: train/loss of epoch 3 is nan: not finite, and not written" in stderr
    assert "train/loss of epoch 2 is 0.75, there 0.5: other than what the tracker has" in stderr
    assert points(read, name)["train/loss", 2] == 0.5 and ("train/loss", 3) not in points(read, name)


def test_odd_ids_of_runs_and_long_settings(runs: Path, make_run: MakeRun, out: Path, read: Read) -> None:
    names = [make_run(runs, done=False, run_id=name) for name in ('it\'s "one" `%`', "its one", "zwölf")]
    for name in names:
        journal(runs / name, start(), trained(1))
    long = {"model": "own", "network": {"architecture": "timm/resnet18", "arguments": {"note": "é" * 7000}}}
    names.append(make_run(runs, done=False, settings=long))
    journal(runs / names[-1], start())
    for epochs in ([1, 1, 1, 0], [0, 0, 0, 0]):
        assert [one(found).epochs for found in track([runs / name for name in names], "mlflow", out)] == epochs
    assert read().keys() == {*names}
    assert read()[names[-1]].data.params["network.arguments.note"] == "é" * 5997 + "..."


def test_runs_that_cannot_be_read_do_not_stop_the_others(
    runs: Path, make_run: MakeRun, out: Path, read: Read, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, empty, good = (make_run(runs, done=False) for _ in range(3))
    (runs / bad / "settings.yaml").write_text("dataset: [")
    journal(runs / good, start(), trained(1))
    with pytest.raises(SystemExit) as caught:
        main(["track", str(runs), "--to", "mlflow", "--out", str(out), "--json"])
    _, err = capsys.readouterr()
    assert caught.value.code == 1 and len(err.splitlines()) == 2
    assert f"blurtrain: {runs / empty}: has no journal: nothing of it has been trained yet" in err
    assert f"{runs / bad}/settings.yaml" in err and read().keys() == {good}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_what_cannot_be_written_to_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "file").write_text("")
    for out, words in (
        (tmp_path / "file", "file: cannot be written: File exists; choose another --out"),
        (tmp_path / "file" / "below", "cannot be written: Not a directory"),
        (f"http://127.0.0.1:{free_port()}", "MLflow cannot be used: API request to"),
        ("nowhere://127.0.0.1", "MLflow cannot be used"),
    ):
        with pytest.raises(RunError) as caught:
            list(track([], "mlflow", out))
        assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("address", ["https://me:secret@host", "https://secret@host", "postgresql://me:secret@host/db"])
def test_secrets_are_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(SettingsError, match="MLFLOW_TRACKING_PASSWORD") as caught:
        list(track([], "mlflow", address))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_without_the_extra_it_says_which(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from analysis.trackers import track as module

    monkeypatch.setattr(module, "find_spec", lambda _: None)
    (tmp_path / "runs" / "one").mkdir(parents=True)
    (tmp_path / "runs" / "one" / "settings.yaml").write_text("")
    with pytest.raises(SystemExit) as caught:
        main(["track", str(tmp_path / "runs"), "--to", name, "--out", str(tmp_path / "out")])
    assert (caught.value.code, capsys.readouterr().err) == (
        2, f"blurtrain: {name} is not installed: pip install 'blurtrain[{name}]'\n",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()
