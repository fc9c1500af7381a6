"""Every message of docs/faq.md is one that a command gives: each heading is produced, and nothing else is one."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from blurtrain.cli import main
from blurtrain.data.dataset import Dataset, open_dataset

FAQ = (Path(__file__).parents[1] / "docs" / "faq.md").read_text()
MESSAGES = [head.strip("`").replace("``", "`") for head in re.findall(r"^### (.*)$", FAQ, re.M)]
TINY = "data.resolution=64 optimisation.epochs=1 optimisation.warmup_epochs=0 optimisation.batch_size=4"
TRAIN = f"train dataset=textures regime=clear {TINY} loader.kind=resident --data data"


def with_a_run(here: Path) -> None:
    folder = here / "runs" / "textures-clear"
    folder.mkdir(parents=True)
    (folder / "settings.yaml").touch()


def with_a_broken_image(here: Path) -> None:
    (here / "images" / "rings" / "broken.png").write_text("this is none")


def with_splits(here: Path) -> None:
    for split, kinds in (("train", "rings checks"), ("test", "rings")):
        for kind in kinds.split():
            (here / "splits" / split / kind).mkdir(parents=True)
            shutil.copy(here / "images" / kind / "00.png", here / "splits" / split / kind)
    shutil.copy(here / "images" / "stripes" / "00.png", here / "splits" / "test" / "rings" / "01.png")


def with_bad_yaml(here: Path) -> None:
    (here / "run.yaml").write_text("dataset: birds\noptimisation: {epochs: 3\n")


def with_a_damaged_store(here: Path) -> None:
    store = open_dataset(here / "data", "textures").store
    _, start, _ = store.extents[0].tolist()
    with store.beton.open("r+b") as file:
        file.seek(start)
        file.write(bytes(100))


def nothing(here: Path) -> None:
    (here / "run.yaml").write_text("dataset: birds\nregime: clear\n")


Before = Callable[[Path], None]
PRODUCED: dict[str, tuple[Before, str]] = {
    "command 'trian' is unknown; did you mean 'train'?": (nothing, "trian run.yaml"),
    "no grid 'papr' comes with the project; did you mean 'paper'?": (nothing, "grid plan papr"),
    "grid.yaml: cannot be read: No such file or directory": (nothing, "grid status grid.yaml"),
    "runs: no such folder; --runs names the folder that holds the run directories": (nothing, "runs"),
    "no such run; did you mean '...'?": (with_a_run, "evaluate runs/textures-claer"),
    "--cluster mine: no such profile": (nothing, "doctor --cluster mine"),
    "optimisation.epoch: unknown setting; did you mean 'epochs'?": (nothing, "train run.yaml optimisation.epoch=3"),
    "override 'epochs': must be key=value, e.g. optimisation.epochs=10": (nothing, "train run.yaml epochs"),
    "not valid YAML": (with_bad_yaml, "train run.yaml"),
    "regime 'cler' has no preset in configs/regimes and no `curriculum:` section here": (
        nothing,
        "train dataset=birds regime=cler",
    ),
    "optimisation: warmup_epochs=2 must be less than epochs=2": (
        nothing,
        "train run.yaml optimisation.epochs=2 optimisation.warmup_epochs=2",
    ),
    "dataset 'birds' is not prepared in data": (nothing, "train run.yaml"),
    "cannot be decoded": (with_a_broken_image, "data prepare images --name broken"),
    "images lie in several splits, byte for byte the same": (with_splits, "data prepare splits --name several"),
    "was prepared otherwise": (nothing, "data prepare images --name textures --resolution 32"),
    "is stored at 73 px, less than data.resolution=224": (
        nothing,
        "train run.yaml dataset=textures data.resolution=224",
    ),
    "pixels of image ... are damaged": (with_a_damaged_store, TRAIN),
    "cannot take data.resolution=32": (nothing, f"{TRAIN} data.resolution=32"),
    "NaN or infinite": (nothing, f"{TRAIN} optimisation.learning_rate=1e30"),
}


def test_every_message_is_tried() -> None:
    assert sorted(MESSAGES) == sorted(PRODUCED)


@pytest.mark.parametrize("message", PRODUCED)
def test_the_message_is_given(
    message: str, tree: Path, prepared: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copytree(tree, tmp_path / "images")
    shutil.copytree(prepared.folder.parent, tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    before, command = PRODUCED[message]
    before(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(command.split())
    assert caught.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.search(re.escape(message).replace(r"\.\.\.", ".+"), line), line
