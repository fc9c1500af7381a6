"""Cross-entropy with a weight a class."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from blurtrain.errors import SettingsError
from blurtrain.tasks.weighted import WeightedCrossEntropy


def test_weights_multiply_the_loss_of_their_class() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(12, 3), torch.arange(12) % 3
    loss, outputs = WeightedCrossEntropy(weights=(1, 2, 0))(lambda x: x, logits, labels, 0.1)
    each = [cross_entropy(logits[k : k + 1], labels[k : k + 1], label_smoothing=0.1) for k in range(12)]
    expected = sum((1, 2, 0)[int(label)] * one for label, one in zip(labels, each, strict=True)) / 12
    torch.testing.assert_close(loss, torch.as_tensor(expected))
    assert outputs is logits


def test_weights_of_one_are_the_plain_loss() -> None:
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    for weights in ((1, 1), ()):
        loss, _ = WeightedCrossEntropy(weights=weights)(lambda x: x, logits, labels)
        torch.testing.assert_close(loss, cross_entropy(logits, labels))


def test_as_many_weights_as_classes() -> None:
    with pytest.raises(SettingsError, match="2 are given for 3 classes"):
        WeightedCrossEntropy(weights=(1, 1))(lambda x: x, torch.zeros(1, 3), torch.zeros(1, dtype=torch.int64))
