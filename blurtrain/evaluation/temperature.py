"""Calibration by one number that logits are divided by, which leaves their order (Guo et al., ICML 2017)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from blurtrain.blur.blurs import Sharp
from blurtrain.data.augment import Transform
from blurtrain.data.batches import Batch
from blurtrain.data.dataset import Dataset, EvaluationImages
from blurtrain.device import tf32
from blurtrain.errors import DataError
from blurtrain.evaluation.measures.calibration import reliability
from blurtrain.evaluation.views import Whole
from blurtrain.models.trained import TrainedNetwork
from blurtrain.settings import Augmentation, BlurUnits

BATCH = 64
BINS = 15
LEAST, MOST = 0.05, 20.0
SPLIT = "val"
"""Of the dataset of a run: not trained on, and not what it is tested on."""


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature, within LEAST and MOST, at which the mean cross-entropy of logits [n, classes] is least."""
    from scipy.optimize import minimize_scalar

    bounds = np.log(LEAST), np.log(MOST)
    found = minimize_scalar(lambda x: cross_entropy(logits / np.exp(x), labels), bounds=bounds, method="bounded")
    return float(np.exp(found.x))


def calibration(network: TrainedNetwork, dataset: Dataset) -> dict[str, Any]:
    """The temperature of a network on the val split of its dataset, as plain values: cross-entropy and calibration
    error (15 bins) at temperature 1, and at that one; `at_bound`: whether LEAST or MOST is as good. Images are shown as
    in an evaluation. Raises DataError where there is no val split, or images keep their aspect."""
    images = dataset.evaluation_images(SPLIT, network.preprocessing.resize)
    if not images.store.squared:
        raise DataError(
            f"dataset {dataset.name!r} keeps the aspect of its images; to calibrate, prepare it with --aspect square"
        )
    logits, labels = _logits(network, images), images.labels
    value = temperature(logits, labels)
    best = cross_entropy(logits / value, labels)
    at_bound = any(cross_entropy(logits / bound, labels) <= best + 1e-9 for bound in (LEAST, MOST))
    return {
        "temperature": value, "at_bound": at_bound,
        "dataset": dataset.name, "data_id": dataset.data_id, "split": SPLIT, "n": len(labels),
        "cross_entropy": [cross_entropy(logits, labels), best],
        "calibration_error": [_error(logits, labels), _error(logits / value, labels)],
    }  # fmt: skip


@tf32(False)
@torch.inference_mode()
def _logits(network: TrainedNetwork, images: EvaluationImages) -> NDArray[np.float64]:
    """[n, classes], of sharp images."""
    seen, found = network.preprocessing, []
    views = Whole(network, Transform(Augmentation(), seen.resize, seen.mean, seen.sd, BlurUnits(), 0))
    for start in range(0, len(images.indices), BATCH):
        indices = images.indices[start : start + BATCH]
        pixels = torch.from_numpy(images.store.read(indices)).permute(0, 3, 1, 2).to(network.device)
        labels = torch.from_numpy(images.labels[start : start + BATCH])
        found.append(views.of(Batch(pixels, labels, indices))(Sharp()).double().cpu().numpy())
    return np.concatenate(found)


def cross_entropy(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean, in nats, of logits [N, classes] and labels [N]."""
    log = torch.from_numpy(logits).double().log_softmax(1).numpy()
    return float(-log[np.arange(len(labels)), labels].mean())


def _error(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    confidence, taken = (v.numpy() for v in torch.from_numpy(logits).double().softmax(1).max(1))
    bins = reliability(confidence, (taken == labels).astype(np.float64), BINS)
    return float(bins[:, 0] @ np.abs(bins[:, 1] - bins[:, 2]) / len(labels))
