"""Validation while training, the best epoch, kept stages, and early stopping: exact over resume."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from interruption import train_until
from torch.nn.functional import cross_entropy

from blurtrain.blur.blurs import Blur, Gaussian, Sharp
from blurtrain.data.augment import Transform
from blurtrain.data.dataset import Dataset
from blurtrain.errors import SettingsError
from blurtrain.models import build
from blurtrain.run import Run
from blurtrain.settings import Settings
from blurtrain.training.train import train

Tiny = Callable[..., Settings]
EPOCHS, STEPS = 4, 3


def looks(run: Run) -> list[dict[str, Any]]:
    return [event for event in run.journal() if event["event"] == "validation"]


def metrics(weights: Path, settings: Settings, dataset: Dataset, blur: Blur) -> tuple[float, float]:
    """Loss and top-1 (percent) of stored weights on the val split, by torch alone."""
    network = build("alexnet-sup", len(dataset.classes)).eval()
    network.load_state_dict(safetensors.torch.load_file(weights))
    images = dataset.evaluation_images("val", settings.data.resolution)
    pixels = torch.from_numpy(images.store.read(images.indices)).permute(0, 3, 1, 2)
    transform = Transform.of(settings, dataset)
    shown = transform.blurred(transform.resized(pixels), blur, images.indices)
    logits, labels = network(shown), torch.from_numpy(images.labels)
    return cross_entropy(logits, labels).item(), 100 * float((logits.argmax(1) == labels).double().mean())


def test_what_validation_logs_is_what_the_kept_weights_give(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    settings = tiny(
        optimisation={"epochs": EPOCHS},
        validation={"every_epochs": 3, "blurs": ["sharp", "gaussian-8"]},
        checkpoints={"keep_epochs": [3, EPOCHS]},
    )
    run = train(settings, tmp_path)
    assert [(e["epoch"], e["n"], e["split"]) for e in looks(run)] == [(3, 3, "val"), (EPOCHS, 3, "val")]
    for event in looks(run):
        expected = [
            metrics(run.stage(event["epoch"]), settings, prepared, blur) for blur in (Sharp(), Gaussian(sigma=8))
        ]
        found = [(level["loss"], level["top1"]) for level in event["levels"]]
        assert found == [(pytest.approx(loss, rel=1e-5), top1) for loss, top1 in expected]
        assert event["loss"] == pytest.approx(sum(loss for loss, _ in expected) / 2, rel=1e-5)
    assert run.stage(EPOCHS).read_bytes() == run.weights.read_bytes() and not run.best.exists()


def test_looking_changes_no_bit_and_no_id(tiny: Tiny, tmp_path: Path) -> None:
    plain = train(tiny(), tmp_path / "plain")
    looked = train(tiny(validation={"every_epochs": 1, "keep_best": "loss"}), tmp_path / "looked")
    assert looked.id == plain.id and looked.weights.read_bytes() == plain.weights.read_bytes()


@pytest.mark.parametrize(("metric", "best"), [("loss", min), ("top1", max)])
def test_the_best_epoch_is_kept_beside_the_last(
    tiny: Tiny, tmp_path: Path, metric: str, best: Callable[..., float]
) -> None:
    settings = tiny(
        optimisation={"epochs": EPOCHS, "learning_rate": 0.01},
        validation={"every_epochs": 1, "keep_best": metric},
        checkpoints={"keep_epochs": list(range(1, EPOCHS + 1))},
    )
    run = train(settings, tmp_path)
    values = [event[metric] for event in looks(run)]
    epoch = 1 + values.index(best(values))  # of equals the first
    assert run.result()["best"] == {"epoch": epoch, metric: best(values)}
    assert run.best.read_bytes() == run.stage(epoch).read_bytes()


def test_early_stopping_ends_a_run_that_gets_no_better_wherever_it_was_interrupted(tiny: Tiny, tmp_path: Path) -> None:
    settings = tiny(
        optimisation={"epochs": 12, "learning_rate": 0.01},
        early_stopping={"patience": 2, "metric": "top1"},
        checkpoints={"every_minutes": 0},
    )
    whole = train(settings, tmp_path / "whole")
    values = [event["top1"] for event in looks(whole)]
    ended = len(values)
    assert ended < 12 and whole.result()["epochs"] == ended
    best = values.index(max(values))
    assert ended == best + 1 + 2 and max(values[:best], default=-1) < values[best]
    for step in (1, (ended - 1) * STEPS + 1):
        runs = tmp_path / f"parts-{step}"
        train_until(step, settings, runs)
        run = train(settings, runs)
        assert run.result() == whole.result() and run.weights.read_bytes() == whole.weights.read_bytes()
        assert [event["top1"] for event in looks(run)] == values
    assert "stopped early" in whole.result()["headline"]


def test_without_val_images_there_is_one_line(tiny: Tiny, prepared: Dataset, tmp_path: Path) -> None:
    from blurtrain.data.preparation import Recipe, prepare

    source = prepared.manifest["request"]["source"]
    without, _ = prepare(tmp_path / "data", "without", Recipe(images=source, resolution=64, val=0))
    named = {"dataset": without.name, "data": {"root": str(without.folder.parent)}}
    with pytest.raises(SettingsError, match=r"^early_stopping: looks at the val split: dataset 'without' has no val"):
        train(tiny(**named, early_stopping={"patience": 1}), tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
