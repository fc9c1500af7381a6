"""blurtrain from Python: a line each, and nothing of the process that it runs in is taken over."""

import logging
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import blurtrain
from blurtrain.data.dataset import Dataset
from blurtrain.errors import DataError, SettingsError, TrainingError
from blurtrain.settings import Settings, dump

SHORT = {"epochs": 1, "warmup_epochs": 0}
HEAVY = {"torch", "numpy", "pydantic", "yaml", "scipy", "pandas", "matplotlib"}


def imported_by(code: str) -> set[str]:
    """Which of HEAVY a process has imported after `code`."""
    command = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    return HEAVY & set(done.stderr.split())


@pytest.mark.parametrize("code", ["import blurtrain", "from blurtrain.cli import main; main(['--help'])"])
def test_what_should_answer_at_once_imports_nothing_heavy(code: str) -> None:
    assert not imported_by(code)


def test_settings_are_checked_without_torch(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("dataset: x\nregime: clear\nseeed: 3\n")
    code = "from blurtrain import train\n    try: train(%r)\n    except Exception as e: assert 'seeed' in str(e)"
    assert "torch" not in imported_by(code % str(tmp_path / "run.yaml"))


@pytest.mark.parametrize("name", sorted(set(blurtrain.__all__) - {"__version__"}))
def test_names_are_there_when_asked_for(name: str) -> None:
    assert name in dir(blurtrain) and getattr(blurtrain, name).__name__ == name


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="module 'blurtrain' has no attribute 'trian'"):
        blurtrain.trian  # noqa: B018


def test_prepare(tree: Path, prepared: Dataset, tmp_path: Path) -> None:
    dataset = blurtrain.prepare(str(tree), "mine", str(tmp_path), resolution=64)
    assert dataset.folder == tmp_path / "mine" and dataset.data_id == prepared.data_id
    again = blurtrain.prepare(tree, "mine", tmp_path, resolution=64)
    assert again.data_id == dataset.data_id
    with pytest.raises(SettingsError, match=r"^prepare: resolutoin: unknown setting; did you mean 'resolution'"):
        blurtrain.prepare(tree, "mine", tmp_path, resolutoin=64)
    with pytest.raises(DataError):
        blurtrain.prepare(tmp_path / "nothing", "mine", tmp_path)


def test_the_same_run_from_a_file_a_mapping_and_settings(tiny: Callable[..., Settings], tmp_path: Path) -> None:
    settings = tiny(seed=3, optimisation=SHORT)
    (tmp_path / "run.yaml").write_text(dump(tiny()))
    run = blurtrain.train(str(tmp_path / "run.yaml"), str(tmp_path / "runs"), seed=3, optimisation=SHORT)
    assert run.result() and run.settings == settings
    assert blurtrain.train(settings, tmp_path / "runs") == run
    assert blurtrain.train(tiny().model_dump(mode="json"), tmp_path / "runs", seed=3, optimisation=SHORT) == run
    assert len(run.attempts()) == 1
    with pytest.raises(SettingsError, match=r"run.yaml: optimisation.epoch: unknown setting"):
        blurtrain.train(tmp_path / "run.yaml", tmp_path / "runs", optimisation={"epoch": 3})


def test_load_and_evaluate(tiny: Callable[..., Settings], prepared: Dataset, tmp_path: Path) -> None:
    run = blurtrain.train(tiny(optimisation=SHORT), tmp_path)
    network = blurtrain.load_network(str(run.path))
    assert network.classes == tuple(prepared.classes)
    rows = blurtrain.evaluate(run, blurs=[0, "disk-4"])
    assert {row["blur"] for row in rows} == {"sharp", "disk-4"}
    images = prepared.evaluation_images("test", 64)
    shown = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2)
    correct = int((network.predict(shown).argmax(1).numpy() == images.labels).sum())
    (sharp,) = [row for row in rows if (row["metric"], row["blur"]) == ("top1", "sharp")]
    assert (sharp["count"], sharp["n"]) == (correct, 9)
    with pytest.raises(SettingsError, match="torchvision has no network 'resnet5'"):
        blurtrain.load_network("torchvision/resnet5")


# --- as a library ---------------------------------------------------------------------------------------------------

WITNESS = """
import logging, signal
from torch import nn

seen = []


class Witness(nn.Sequential):
    def __init__(self, classes):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, classes))

    def forward(self, images):
        seen.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)])
        return super().forward(images)
"""


@pytest.fixture
def witness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[Any]]]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    Path("witness.py").write_text(WITNESS)
    yield lambda: sys.modules["witness"].seen
    sys.modules.pop("witness", None)


def switches() -> list[Any]:
    """What belongs to the process, and not to a training in it."""
    return [
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.benchmark,
        torch.get_num_threads(),
        torch.get_rng_state().tolist(),
        random.getstate(),
        logging.getLogger().level,
        list(logging.getLogger().handlers),
        logging.getLogger("blurtrain").level,
        list(logging.getLogger("blurtrain").handlers),
    ]


@pytest.mark.parametrize("fails", [False, True])
def test_training_leaves_the_process_as_it_was(
    tiny: Callable[..., Settings], tmp_path: Path, witness: Callable[[], list[Any]], fails: bool
) -> None:
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    try:
        before = switches()
        handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
        settings = tiny(model="mine", network={"architecture": "witness.py:Witness"}, optimisation=SHORT)
        if fails:
            with pytest.raises(TrainingError, match="learning_rate"):
                blurtrain.train(settings, tmp_path / "runs", optimisation={"optimiser": "sgd", "learning_rate": 1e38})
        else:
            assert blurtrain.train(settings, tmp_path / "runs").result()
            assert len(witness()) > 3 and all(seen == handlers for seen in witness())
        assert switches() == before
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.set_num_threads(threads)
