"""The front door: help for everything, one line for a mistake, results on stdout, and nothing heavy at the door."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset

COMMANDS = [
    (),
    ("data",),
    ("data", "prepare"),
    ("data", "check"),
    ("data", "list"),
    ("train",),
    ("evaluate",),
    ("curriculum",),
    ("grid",),
    ("grid", "plan"),
    ("grid", "status"),
    ("grid", "submit"),
    ("grid", "cancel"),
    ("grid", "retry"),
    ("grid", "logs"),
    ("bench",),
    ("bench", "blur"),
    ("bench", "loader"),
    ("bench", "train"),
    ("bench", "packed"),
    ("bench", "sweep"),
    ("bench", "grid"),
    ("bench", "statistics"),
    ("doctor",),
    ("report",),
]


def ended(arguments: Sequence[object]) -> int:
    """The exit code of a command, run in this process."""
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return int(caught.value.code or 0)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder to work in, as a user would."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path


# --- help -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert ended([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(" ".join(["usage: blurtrain", *command]))
    assert err == ""


@pytest.mark.parametrize("command", [(), ("data",), ("grid",)], ids=" ".join)
def test_help_names_every_command_below(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    ended([*command, "--help"])
    out = capsys.readouterr().out
    for below in COMMANDS:
        if len(below) == len(command) + 1 and below[: len(command)] == command:
            assert [below[-1]] in [line.split()[:1] for line in out.splitlines()]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(["--version"]) == 0
    assert capsys.readouterr().out.startswith("blurtrain ")


def test_the_door_opens_without_anything_heavy() -> None:
    heavy = ("torch", "pydantic", "numpy", "pandas", "matplotlib", "submitit", "ffcv", "yaml")
    program = f"import sys, blurtrain.cli; print([m for m in {heavy} if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == "[]"


def test_grids_are_planned_without_torch(here: Path, prepared: Dataset) -> None:
    (here / "grid.yaml").write_text("axes: {dataset: [textures], regime: [clear, blurry]}")
    program = (
        "import sys; from blurtrain.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "finally: print([m for m in ('torch', 'ffcv', 'pandas') if m in sys.modules], file=sys.stderr)"
    )
    command = ["grid", "status", "grid.yaml", "--data", str(prepared.folder.parent), "--json"]
    done = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=True)
    assert [row["state"] for row in json.loads(done.stdout)] == ["planned", "planned"]
    assert done.stderr.splitlines()[-1] == "[]"


def test_a_watched_grid_is_shown_again_until_ctrl_c(here: Path, prepared: Dataset) -> None:
    (here / "grid.yaml").write_text("axes: {dataset: [textures], regime: [clear, blurry]}")
    command = ["grid", "status", "grid.yaml", "--data", str(prepared.folder.parent), "--watch"]
    with subprocess.Popen(
        [sys.executable, "-m", "blurtrain", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # a job in the background is started deaf to it
    ) as watch:
        assert watch.stdout and watch.stderr
        shown = 0
        while shown < 2:
            line = watch.stdout.readline()
            assert line, watch.stderr.read()
            shown += "2 runs: 2 planned" in line
        watch.send_signal(signal.SIGINT)
        assert watch.wait(timeout=30) == 130
        assert watch.stderr.read() == ""


# --- mistakes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("data prepare none --name x", "none: no such folder"),
        ("data prepare images", "data prepare: --name says what the dataset is to be called"),
        ("data prepare --name x", "data prepare: give a folder of images, or --standin KIND"),
        ("data prepare images --name x --standin faces", "data prepare: give a folder of images, or --standin KIND"),
        ("data prepare --name x --standin face", "data prepare: standin: input should be 'faces', 'objects', "),
        ("data prepare images --name ../x", "'../x' is no name for a dataset"),
        ("data prepare images --name x --label 0", "data prepare: label: input should be greater than or equal to 1"),
        ("data prepare images --name x --resolution 4", "data prepare: resolution: input should be greater than or"),
        ("data prepare images --name x --data file", "file/x/manifest.json: cannot be read"),
        ("data prepare --grid grid.yaml", "grid.yaml: has no `data:` section"),
        ("data check", "data: holds no prepared dataset"),
        ("data check faces", "dataset 'faces' is not prepared in data: `blurtrain data prepare IMAGES --name faces"),
        ("train none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("train run.yaml", "dataset 'faces' is not prepared in data: "),
        ("train run.yaml --data elsewhere", "dataset 'faces' is not prepared in elsewhere: "),
        (
            "train run.yaml optimisation.epoch=3",
            "run.yaml: optimisation.epoch: unknown setting; did you mean 'epochs'?",
        ),
        ("train run.yaml epochs", "override 'epochs': must be key=value"),
        ("train grid.yaml", "grid.yaml: dataset: missing; regime: missing; axes: unknown setting"),
        ("evaluate none", "none/settings.yaml: cannot be read: No such file or directory"),
        ("grid plan none.yaml", "none.yaml: cannot be read: No such file or directory"),
        ("grid status grid.yaml", "grid.yaml: dataset 'faces' is not prepared in data: `blurtrain data prepare` first"),
        ("grid submit grid.yaml --wait", "grid.yaml: dataset 'faces' is not prepared in data"),
        ("grid submit grid.yaml --cluster simulator", "grid.yaml: dataset 'faces' is not prepared in data"),
        (
            "grid submit axis.yaml --cluster simulator",
            "axis.yaml (dataset=faces, regime=clear, seeed=1): seeed: ",
        ),
        ("grid logs x", "runs: no run 'x'"),
        ("bench grid --cluster none", "--cluster none: no such profile; "),
        ("doctor --cluster local", "doctor: --cluster local has no SLURM that could be looked at"),
        ("report none --out out", "none: "),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    here: Path, capsys: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    (here / "file").touch()
    (here / "images" / "a").mkdir(parents=True)
    (here / "images" / "a" / "1.png").touch()
    (here / "run.yaml").write_text("dataset: faces\nregime: clear\n")
    (here / "grid.yaml").write_text("axes: {dataset: [faces], regime: [clear]}\n")
    (here / "axis.yaml").write_text("axes: {dataset: [faces], regime: [clear], seeed: [1]}\n")
    before = sorted(here.rglob("*"))
    assert ended(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.replace(f"{here}/", "").startswith(f"blurtrain: {message}")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before  # and nothing was half begun


def test_no_traceback_reaches_the_user(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blurtrain", "train", "none.yaml"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "blurtrain: none.yaml: cannot be read: No such file or directory\n"


@pytest.mark.parametrize(
    "command", ["", "data", "frobnicate", "data prepare images --name x --splits train", "train", "grid submit"]
)
def test_a_command_that_cannot_be_parsed_is_exit_code_2(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert ended(command.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: blurtrain")
    assert "error: " in err.splitlines()[-1]


# --- data -----------------------------------------------------------------------------------------------------------


def test_prepare_says_what_there_is_and_that_it_was_there(
    here: Path, prepared: Dataset, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = prepared.folder.parent
    command = ["data", "prepare", tree, "--name", "textures", "--resolution", "64", "--data", root]
    assert ended(command) == 0
    counts = "3 classes, 30 train, 3 val, 9 test, 73 px"
    assert capsys.readouterr().out == f"{root}/textures: {counts} (already prepared)\n"


def test_prepare_takes_every_option_to_the_recipe(
    tree: Path, prepared: Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    shutil.copytree(prepared.folder.parent / ".stores", root / ".stores")  # so that not all is written anew
    options = "--resolution 64 --val 0.2 --test 0.3 --split-seed 5 --min-images 2 --label leaf --hold-out images"
    assert ended(["data", "prepare", tree, "--name", "other", "--data", root, *options.split()]) == 0
    assert capsys.readouterr().out == f"{root}/other: 3 classes, 21 train, 9 val, 12 test, 73 px\n"


def test_grid_files_prepare_their_datasets(
    here: Path, tree: Path, prepared: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "data").mkdir()
    shutil.copytree(prepared.folder.parent / ".stores", here / "data" / ".stores")
    (here / "grid.yaml").write_text(
        f"data:\n  one: {{images: {tree.name}, resolution: 64}}\n"
        f"  two: {{images: {tree.name}, resolution: 64, val: 0}}\n"
        "axes: {dataset: [one, two], regime: [clear]}\n"
    )
    assert ended(["data", "prepare", "--grid", "grid.yaml", "--images", tree.parent]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "data/one: 3 classes, 30 train, 3 val, 9 test, 73 px"
    assert out[1] == "data/two: 3 classes, 33 train, 9 test, 73 px"
    assert ended(["grid", "plan", "grid.yaml", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["dataset"], row["state"]) for row in rows] == [("one", "planned"), ("two", "planned")]


def test_list_prints_one_json_document(prepared: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    root = prepared.folder.parent
    assert ended(["data", "list", "--data", root, "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "name": "textures",
        "data_id": prepared.data_id,
        "counts": {"train": 30, "val": 3, "test": 9},
        "stored_size": 73,
        "store": prepared.manifest["store"],
        "test_store": prepared.manifest["test_store"],
        "classes": 3,
        "aspect": "square",
    }
    assert ended(["data", "list", "--data", root]) == 0
    out = capsys.readouterr().out
    assert out.startswith("textures ")
    assert prepared.data_id in out


def test_check_tells_what_is_intact(prepared: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    root = prepared.folder.parent
    for names in ([], ["textures"]):
        assert ended(["data", "check", *names, "--data", root]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == f"{root}/textures: intact (42 images)"
        assert lines[-1] == "  verdict: nothing found that makes results invalid"


@pytest.mark.parametrize("command", [["report", "none", "--out", "out"], ["grid", "status", "none.yaml"]])
def test_files_of_the_user_s_own_that_are_called_like_our_packages_disturb_nothing(
    tmp_path: Path, command: list[str]
) -> None:
    for name in ("jobs.py", "analysis.py"):
        (tmp_path / name).write_text("raise SystemExit('this is not blurtrain')\n")
    words = [sys.executable, "-m", "blurtrain", *command]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("blurtrain: none"), done.stderr
