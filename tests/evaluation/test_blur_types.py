"""Blur types: what is taken for what, and the temperature of probabilities."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from blurtrain.blur.blurs import Sharp
from blurtrain.blur_types import CLASSES
from blurtrain.distributed import Group
from blurtrain.errors import SettingsError
from blurtrain.evaluation.cached import measure_each
from blurtrain.evaluation.measures.blur_types import BlurTypes
from blurtrain.evaluation.temperature import cross_entropy, temperature


def test_counts_and_shares() -> None:
    rng = np.random.default_rng(0)
    labels, taken = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    measure = BlurTypes()
    logits = torch.nn.functional.one_hot(torch.from_numpy(taken), 4) * 3.0
    values = measure.values(logits, torch.from_numpy(labels))
    found = measure.pooled({name: value.numpy() for name, value in values.items()})
    for k, name in enumerate(CLASSES):
        hits = np.sum((labels == k) & (taken == k))
        assert found[f"recall.{name}"] == pytest.approx(hits / np.sum(labels == k))
        assert found[f"precision.{name}"] == pytest.approx(hits / np.sum(taken == k))
        for j in range(4):
            assert np.asarray(found["confusion"])[k, j] == np.sum((labels == k) & (taken == j))
    sharp = labels == CLASSES.index("sharp")
    assert found["false_alarms"] == pytest.approx(np.mean(taken[sharp] != CLASSES.index("sharp")))
    assert np.asarray(found["reliability"])[:, 0].sum() == 200


@pytest.mark.parametrize("classes", [("ash", "birch", "elm", "oak"), CLASSES[:3], CLASSES[::-1]])
def test_other_networks(classes: tuple[str, ...]) -> None:
    """Also of as many classes, or of the same in another order."""
    BlurTypes().check_classes(list(CLASSES))
    with pytest.raises(SettingsError, match=f"not of {', '.join(classes)}$"):
        BlurTypes().check_classes(classes)


def test_other_networks_are_not_measured(tmp_path: Path) -> None:
    """Said before an image is looked at: what is opened here has none."""
    opened: Any = SimpleNamespace(networks=[SimpleNamespace(classes=("ash", "birch", "elm", "oak"))])
    group = Group(0, 1, torch.device("cpu"), 1)
    with pytest.raises(SettingsError, match="not of ash, birch, elm, oak"):
        measure_each(
            ["blur-types"], [Sharp()], False, tmp_path, {"split": "val", "epoch": 1}, {}, group, lambda _: opened
        )


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(true: float) -> None:
    rng = np.random.default_rng(1)
    calibrated = rng.normal(0, 2, (20_000, 4))
    p = np.exp(calibrated) / np.exp(calibrated).sum(1, keepdims=True)
    labels = (rng.random((len(p), 1)) > p.cumsum(1)).sum(1)
    found = temperature(calibrated * true, labels)
    assert found == pytest.approx(true, rel=0.05)
    assert cross_entropy(calibrated * true / found, labels) <= cross_entropy(calibrated * true, labels) + 1e-9
