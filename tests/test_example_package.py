"""A user's folder (example_package/): network, curriculum, blur, loss and measure by name, through the command line."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blurtrain
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.parts import source_hash
from blurtrain.run import Run

EXAMPLE = Path(__file__).parent / "example_package"
RING = "parity.blur:Ring-radius=6"
PARTS = {
    "parity.blur:Ring",
    "parity.curriculum:Alternating",
    "parity.loss:Mirrored",
    "parity.measure:Margin",
    "parity.network:Stack",
}
Command = Callable[..., str]
pytestmark = [pytest.mark.slow, pytest.mark.long]  # CI has the same package on the simulated cluster


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, prepared: Dataset) -> Path:
    """The user's folder, with data."""
    folder = tmp_path_factory.mktemp("user") / "work"
    shutil.copytree(EXAMPLE, folder)
    (folder / "data").symlink_to(prepared.folder.parent)
    return folder


@pytest.fixture(scope="module")
def command(folder: Path) -> Command:
    def call(*words: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "blurtrain", *words], cwd=folder, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == code, done.stderr
        return done.stdout if code == 0 else done.stderr

    return call


@pytest.fixture(scope="module")
def runs(folder: Path, command: Command) -> list[Run]:
    """Trained by local workers."""
    command("grid", "submit", "grid.yaml", "--wait", "--at-a-time", "2")
    rows = json.loads(command("grid", "status", "grid.yaml", "--json"))
    assert [row["state"] for row in rows] == ["done", "done"]
    return [Run(folder / "runs" / row["run_id"]) for row in rows]


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """In the user's folder; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "parity"]:
        del sys.modules[name]


def test_each_run_says_what_it_was_made_of(runs: list[Run], here: None) -> None:
    for run in runs:
        (attempt,) = run.attempts()
        sources = json.loads((attempt / "origin.json").read_text())["sources"]
        assert sources == {name: source_hash(name) for name in PARTS}
        epochs = [event["blurs"] for event in run.journal() if event["event"] == "epoch"]
        assert epochs == [{RING: 1, "sharp": 0}, {RING: 0, "sharp": 1}]


def test_its_network_and_measure_say_the_same_as_numpy(runs: list[Run], prepared: Dataset, here: None) -> None:
    """The margin at each blur, from logits that are computed here, against what the run has published."""
    run, settings = runs[0], runs[0].settings
    network, transform = blurtrain.load_network(run), Transform.of(settings, prepared)
    assert type(network.module).__name__ == "Stack" and network.module.classifier.in_features == 8
    images = prepared.evaluation_images("test", 64)
    pixels = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2)
    rows = [row for row in blurtrain.evaluate(run, measures=["parity.measure:Margin"]) if row["metric"] == "margin"]
    assert [row["blur"] for row in rows] == ["sharp", RING]
    for row, blur in zip(rows, [blurtrain.Blur.parse("sharp"), *settings.evaluation.blurs], strict=True):
        with torch.inference_mode():
            shown = transform.blurred(transform.resized(pixels), blur, images.indices)
            logits = network.module(shown).double().numpy()
        true = logits[np.arange(len(logits)), images.labels]
        logits[np.arange(len(logits)), images.labels] = -np.inf
        assert row["value"] == pytest.approx((true - logits.max(1)).mean(), rel=1e-5)
        assert row["n"] == len(logits) == 9


def test_its_loss_is_what_was_trained_by(runs: list[Run], command: Command) -> None:
    """Without the second view the same run has other weights, and another name."""
    other = Path(command("train", str(runs[0].path / "settings.yaml"), "loss.weight=0", "--runs", "others").strip())
    assert other.name != runs[0].id and other.name.split("-s0-")[0] == runs[0].id.split("-s0-")[0]
    losses = [
        [event["loss"] for event in run.journal() if event["event"] == "epoch"]
        for run in (runs[0], Run(runs[0].path.parents[1] / other))
    ]
    assert losses[0] != losses[1]


def test_changed_source_is_said_by_the_next_attempt(runs: list[Run], folder: Path, command: Command) -> None:
    whole = runs[1].weights.read_bytes()
    (runs[1].path / "result.json").unlink()
    layers = folder / "parity" / "layers.py"
    layers.write_text(layers.read_text() + "\n# a word more\n")
    command("train", str(runs[1].path / "settings.yaml"))
    (changed,) = [event for event in runs[1].journal() if event["event"] == "sources changed"]
    assert changed["parts"] == ["parity.network:Stack"] and runs[1].weights.read_bytes() == whole


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("network.arguments.widht=3", "network.arguments.widht: unknown setting; did you mean 'width'"),
        ("network.architecture=parity.network:Stak", "has no 'Stak'; did you mean 'Stack'"),
        ("curriculum.schedule=parity.curriculum:Alternatin", "has no 'Alternatin'; did you mean 'Alternating'"),
        ("curriculum.blur.radius=-1", "radius: input should be greater than 0"),
        ("loss.weigth=1", "loss.weigth: unknown setting; did you mean 'weight'"),
        ("loss.type=parity.blur:Ring", "is no class derived from blurtrain.tasks.loss.Loss"),
    ],
)
def test_mistakes_are_one_line(runs: list[Run], command: Command, override: str, said: str) -> None:
    settings = str(runs[0].path / "settings.yaml")
    line = command("train", settings, override, "--runs", "refused", code=2)
    assert said in line and line.count("\n") == 1
