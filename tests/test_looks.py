"""`runs` and `show`, and a training that is only looked at: on runs of old, and on a dataset of generated images."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset
from blurtrain.data.preparation import Recipe, prepare
from blurtrain.data.prepared_size import at_prepared_size
from blurtrain.run import Run
from blurtrain.settings import Settings, compose, run_id
from blurtrain.training.train import train

CLEAR = "stripes-clear-timm-resnet18-s0-d882788a8b38"
BLURRY_TO_CLEAR = "stripes-blurry-to-clear-timm-resnet18-s1-22ecad3dd633"
HALF_BATCH = "stripes-half-batch-timm-resnet18-s2-ac71efe900bb"


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(Path(__file__).parent / "fixtures" / "old" / "runs", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What a command that goes well prints on stdout."""

    def call(*words: object, fails: int = 0) -> str:
        with pytest.raises(SystemExit) as caught:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert (caught.value.code or 0) == fails, err
        return err if fails else out

    return call


# --- runs -----------------------------------------------------------------------------------------------------------


def ids(text: str) -> list[str]:
    return [row["run_id"] for row in json.loads(text)]


def test_all_runs_of_a_folder_whatever_their_grid(runs: Path, call: Callable[..., str]) -> None:
    assert sorted(ids(call("runs", "--json"))) == sorted([CLEAR, BLURRY_TO_CLEAR, HALF_BATCH])
    assert call("runs", runs, "--json") == call("runs", "--runs", runs, "--json")
    lines = call("runs").splitlines()
    assert lines[0].split()[:3] == ["run_id", "state", "epoch"] and len(lines) == 4


@pytest.mark.parametrize(("where", "expected"), [
    (["state=done"], [BLURRY_TO_CLEAR, CLEAR]),
    (["regime=clear,blurry-to-clear", "seed=0,2"], [CLEAR]),
    (["seed=1"], [BLURRY_TO_CLEAR]),
    (["optimisation.learning_rate=1e-2", "state=done"], [BLURRY_TO_CLEAR, CLEAR]),
    (["learning_rate=0.01", "seed=0"], [CLEAR]),
    (["learning_rate=0.02"], []),
])  # fmt: skip
def test_filters_are_columns_and_settings(
    runs: Path, call: Callable[..., str], where: list[str], expected: list[str]
) -> None:
    assert ids(call("runs", *where, "--json")) == expected


def test_sorted_by_any_column_or_setting(runs: Path, call: Callable[..., str]) -> None:
    assert ids(call("runs", "--sort", "seed", "--json")) == [CLEAR, BLURRY_TO_CLEAR, HALF_BATCH]
    assert ids(call("runs", "--sort", "seed", "--reverse", "--json")) == [HALF_BATCH, BLURRY_TO_CLEAR, CLEAR]
    rows = json.loads(call("runs", "state=done", "--sort", "loss", "--columns", "top1,epochs", "--json"))
    assert [row["loss"] for row in rows] == sorted(row["loss"] for row in rows)
    assert rows[[row["run_id"] for row in rows].index(CLEAR)]["top1"] == 25.0  # of its journal's last epoch
    head = call("runs", "--columns", "warmup_epochs").splitlines()[0].split()
    assert "optimisation.warmup_epochs" in head


def test_a_mistyped_setting_is_one_line(runs: Path, call: Callable[..., str]) -> None:
    message = call("runs", "optimisation.epoch=2", fails=2)
    assert message.startswith(
        "blurtrain: runs: 'optimisation.epoch' is no column and no setting of these runs; did you"
    )
    assert "did you mean 'optimisation.epochs'?" in message and message.count("\n") == 1


def test_what_cannot_be_read_is_said_and_the_others_are_shown(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / CLEAR / "settings.yaml").write_text("dataset: [")
    with pytest.raises(SystemExit):
        main(["runs"])
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert f"not read: runs/{CLEAR}/settings.yaml" in err


# --- show -----------------------------------------------------------------------------------------------------------


def test_show_has_what_a_run_is_and_how_it_learnt(runs: Path, call: Callable[..., str]) -> None:
    document = json.loads(call("show", "stripes-clear", "--json"))
    assert document["run_id"] == CLEAR and document["state"] == "done"
    assert document["own"]["optimisation.epochs"] == [2, 100], "which is the default"
    assert "optimisation.weight_decay" not in document["own"], "at its default"
    losses = [event["loss"] for event in Run(runs / CLEAR).journal() if event["event"] == "epoch"]
    assert document["curves"]["loss"] == losses and len(losses) == 2
    assert document["log"][-1].endswith("of 6")
    text = call("show", runs / CLEAR)
    assert "top-1 33.3 % at sigma 0" in text and "█▁  1.185 -> 1.172" in text


def test_a_mistyped_run_is_one_line(runs: Path, call: Callable[..., str]) -> None:
    assert "did you mean 'stripes-clear-" in call("show", "strips-clear", fails=2)


# --- train ----------------------------------------------------------------------------------------------------------


def test_a_dry_run_says_which_run_it_would_be_and_writes_nothing(
    prepared: Dataset, tiny: Callable[..., Settings], tmp_path: Path, call: Callable[..., str]
) -> None:
    words = ["dataset=textures", "regime=blurry", "optimisation.batch_size=8", "optimisation.epochs=3"]
    where = ["--data", prepared.folder.parent, "--runs", tmp_path / "runs"]
    document: dict[str, Any] = {"dataset": "textures", "regime": "blurry", "data": {"resolution": 64}}
    expected = run_id(compose({**document, "optimisation": {"batch_size": 8, "epochs": 3}}, "test"), prepared.data_id)
    text = call("train", *words, "--dry-run", *where)
    assert text.splitlines()[0] == str(tmp_path / "runs" / expected)
    assert "planned, epoch 0 of 3" in text and "30 training images, 3 classes: 3 steps of 8" in text
    assert "optimisation.epochs      3  (100)" in text
    assert not (tmp_path / "runs").exists()
    run = train(tiny(), tmp_path / "runs")
    again = call("train", run.path / "settings.yaml", "--dry-run", "--runs", tmp_path / "runs")
    assert again.splitlines()[0] == str(run.path) and "nothing to do" in again


def test_a_dry_run_needs_no_torch(prepared: Dataset, tmp_path: Path) -> None:
    program = (
        "import sys; from blurtrain.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    words = ["train", "dataset=textures", "regime=clear", "--dry-run", "--data", str(prepared.folder.parent)]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path)
    derived = "data.resolution=64: what dataset 'textures' was prepared for\n"
    assert (done.returncode, done.stderr) == (0, f"{derived}False\n")


def test_settings_without_a_file_are_a_run_like_any_other(
    prepared: Dataset, tiny: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "dataset=textures regime=clear data.resolution=64 optimisation.epochs=2 optimisation.batch_size=8"
    more = "optimisation.warmup_epochs=1 evaluation.sigmas=0,8 loader.kind=resident logging.tensorboard=false"
    where = ["--data", str(prepared.folder.parent), "--runs", str(tmp_path)]
    with pytest.raises(SystemExit) as caught:
        main(["train", *words.split(), *more.split(), *where])
    out, err = capsys.readouterr()
    assert not caught.value.code, err
    assert Path(out.strip()).name == run_id(tiny(), prepared.data_id)
    assert err.splitlines()[-1].startswith(f"next: blurtrain show {out.strip()}; ")


def test_sizes_that_nobody_gives_are_those_of_the_dataset(
    prepared: Dataset, tiny: Callable[..., Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "dataset=textures regime=clear optimisation.epochs=1 optimisation.batch_size=8 loader.kind=resident"
    where = ["--data", str(prepared.folder.parent), "--runs", str(tmp_path), "--dry-run"]
    with pytest.raises(SystemExit):
        main(["train", *words.split(), *where])
    planned = capsys.readouterr().out
    same = {"optimisation": {"epochs": 1, "batch_size": 8, "warmup_epochs": 0.1}}
    assert run_id(tiny(**same), prepared.data_id) in planned
    with pytest.raises(SystemExit):
        main(["train", *words.split(), "data.resolution=224", *where])
    given = capsys.readouterr()
    assert run_id(tiny(**same, data={"resolution": 224}), prepared.data_id) in given.out
    assert "data.resolution=" not in given.err


def test_a_size_that_is_stored_stays_the_default(tree: Path, tmp_path: Path) -> None:
    prepare(tmp_path, "large", Recipe(images=str(tree), resolution=256))
    settings = compose({"dataset": "large", "regime": "clear", "data": {"root": str(tmp_path)}}, "here")
    assert at_prepared_size(settings) == settings and settings.data.resolution == 224


@pytest.mark.parametrize(("words", "message"), [
    ("dataset=textures", "train: regime: missing"),
    ("dataset=textures regim=clear", "train: regime: missing; regim: unknown setting; did you mean 'regime'?"),
    ("dataset=textures regime=cler", "train: regime 'cler' has no preset in configs/regimes and no `curriculum:` "),
])  # fmt: skip
def test_mistakes_without_a_file_are_one_line(call: Callable[..., str], words: str, message: str) -> None:
    assert call("train", *words.split(), fails=2).startswith(f"blurtrain: {message}")


@pytest.mark.parametrize(("words", "message"), [
    ("trian run.yaml", "command 'trian' is unknown; did you mean 'train'?"),
    ("grid stats paper", "command 'stats' is unknown; did you mean 'status'?"),
    ("train run.yaml --until-epochs 3", "unknown arguments: --until-epochs 3; did you mean '--until-epoch'?"),
    ("grid plan paper --jsn", "unknown arguments: --jsn; did you mean '--json'?"),
    ("table --show valeu", "'valeu' is unknown; did you mean 'value'?"),
])  # fmt: skip
def test_what_was_meant_by_a_mistyped_command_or_option(call: Callable[..., str], words: str, message: str) -> None:
    assert message in call(*words.split(), fails=2).splitlines()[-1]
