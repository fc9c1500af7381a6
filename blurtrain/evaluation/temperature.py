"""Calibration by one number that logits are divided by, which leaves their order (Guo et al., ICML 2017)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.data.dataset import Dataset
from blurtrain.errors import DataError
from blurtrain.evaluation.measures.calibration import reliability
from blurtrain.models.trained import TrainedNetwork

BATCH = 64
BINS = 15
LEAST, MOST = 0.05, 20.0


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature, within LEAST and MOST, at which the mean cross-entropy of logits [n, classes] is least."""
    from scipy.optimize import minimize_scalar

    bounds = np.log(LEAST), np.log(MOST)
    found = minimize_scalar(lambda x: cross_entropy(logits / np.exp(x), labels), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def calibration(network: TrainedNetwork, dataset: Dataset, split: str = "val") -> dict[str, Any]:
    """The temperature of a network on a split of a dataset that it was not trained on, as plain values: cross-entropy
    and calibration error (15 bins) at temperature 1, and at that one. Raises DataError for the training split, or where
    there is no such split."""
    if split == "train":
        raise DataError("a temperature is of photos that were not trained on: name another split than train")
    images = dataset.evaluation_images(split, network.preprocessing.resize)
    found = []
    with torch.inference_mode():
        for start in range(0, len(images.indices), BATCH):
            pixels = torch.from_numpy(images.store.read(images.indices[start : start + BATCH])).permute(0, 3, 1, 2)
            shown = network.preprocessing.normalised(pixels.to(network.device))
            found.append(network.logits(shown).double().cpu().numpy())
    logits, labels = np.concatenate(found), images.labels
    value = temperature(logits, labels)
    return {
        "temperature": value, "dataset": dataset.name, "data_id": dataset.data_id, "split": split, "n": len(labels),
        "cross_entropy": [cross_entropy(logits, labels), cross_entropy(logits / value, labels)],
        "calibration_error": [_error(logits, labels), _error(logits / value, labels)],
    }  # fmt: skip


def cross_entropy(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean, in nats, of logits [N, classes] and labels [N]."""
    log = torch.from_numpy(logits).double().log_softmax(1).numpy()
    return float(-log[np.arange(len(labels)), labels].mean())


def _error(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    confidence, taken = (v.numpy() for v in torch.from_numpy(logits).double().softmax(1).max(1))
    bins = reliability(confidence, (taken == labels).astype(np.float64), BINS)
    return float(bins[:, 0] @ np.abs(bins[:, 1] - bins[:, 2]) / len(labels))
