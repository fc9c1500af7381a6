"""A settings file to be overridden, and presets of our own."""

from pathlib import Path

import pytest


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text("dataset: faces\nregime: clear\n")
    return path


@pytest.fixture
def presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Preset files of our own: model, dataset and regime each say what the next contradicts."""
    from blurtrain.settings import composition

    root = tmp_path / "configs"
    for name, text in {
        "models/alexnet-sup": "",
        "models/resnet-18": "network: {architecture: resnet-18}\naugmentation: {flip: 0.1, jitter: 0.1, colour: 0.1}\n",
        "datasets/faces": "augmentation: {jitter: 0.2, colour: 0.2}\n",
        "regimes/clear": "curriculum: {schedule: stepwise, sigmas: [8, 4]}\naugmentation: {colour: 0.3}\nseed: 3\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.yaml").write_text(text)
    monkeypatch.setattr(composition, "PRESETS", root)
    return root
