"""How far a network's confidence can be trusted, and what is gained where it says nothing when it is least sure."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from blurtrain.evaluation.measure import LogitsMeasure

COVERAGES = tuple(range(5, 101, 5))
"""Percent of the images that are answered, of the curve."""
SHOWN = (90, 75, 50)
"""Those that are metrics of their own."""
_SHARE = {"unit": "%", "times": 100, "digits": 1, "least": 0, "most": 1}


class Calibration(LogitsMeasure):
    """Confidence is the largest probability. Metrics:

    ece, largest_gap: calibration error (Guo et al., ICML 2017): images are put by their confidence into `bins` bins of
    equal width, [k / bins, (k + 1) / bins), the last one closed; in each, the gap between the share of right answers
    and mean confidence; its mean, weighted by images, and its largest. With few images it is too high: the gap of a bin
    does not average out.
    brier: squared distance between the probabilities and the right answer, summed over classes (0..2), mean of images.
    confidence: its mean.
    top1_at_90 (75, 50): share of right answers among so many percent of the images (rounded up), the most confident;
    of images that are equally confident the mean.
    aurc: area under risk and coverage (Geifman & El-Yaniv, 2017): the share of wrong answers among the k most confident
    images, averaged over k = 1 .. n.

    Kept beside: `reliability` [bins, 3], of each bin images, mean confidence, share of right answers; `coverage` [20,
    2], percent answered, and share of right answers among them.
    """

    name: ClassVar[str] = "calibration"
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ece": {"label": "calibration error", "better": "lower", **_SHARE},
        "largest_gap": {"label": "largest calibration gap", "better": "lower", **_SHARE},
        "brier": {"label": "Brier score", "digits": 3, "better": "lower", "least": 0, "most": 2},
        "confidence": {"label": "confidence", **_SHARE},
        "aurc": {"label": "area under risk and coverage", "digits": 3, "better": "lower", "least": 0, "most": 1},
        **{f"top1_at_{of}": {"label": f"top-1 of the surest {of} %", "better": "higher", **_SHARE} for of in SHOWN},
    }  # fmt: skip
    bins: int = Field(15, ge=1, le=1000)

    def values(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        probabilities = logits.double().softmax(1)
        right = logits.argmax(1) == labels
        gap = probabilities - one_hot(labels, logits.shape[1])
        return {"brier": gap.square().sum(1), "confidence": probabilities.amax(1), "_right": right}

    def pooled(self, values: Mapping[str, NDArray[Any]]) -> Mapping[str, float | NDArray[Any]]:
        confidence, right = values["confidence"], values["_right"].astype(np.float64)
        bins = reliability(confidence, right, self.bins)
        gaps = np.abs(bins[:, 1] - bins[:, 2])
        at = accuracy_of_most_confident(confidence, right)
        curve = [at[max(int(np.ceil(percent * len(at) / 100)), 1) - 1] for percent in COVERAGES]
        return {
            "ece": float(bins[:, 0] @ gaps / len(right)),
            "largest_gap": float(gaps[bins[:, 0] > 0].max()),
            **{f"top1_at_{percent}": float(curve[COVERAGES.index(percent)]) for percent in SHOWN},
            "aurc": float(1 - at.mean()),
            "reliability": bins,
            "coverage": np.column_stack([COVERAGES, curve]),
        }


def reliability(confidence: NDArray[Any], right: NDArray[Any], bins: int) -> NDArray[np.float64]:
    """[bins, 3]: images, mean confidence and share of right answers of each bin; 0 where there is none."""
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    images = np.bincount(place, minlength=bins)
    sums = [np.bincount(place, weights=values, minlength=bins) for values in (confidence, right)]
    return np.column_stack([images, *(total / np.maximum(images, 1) for total in sums)]).astype(np.float64)


def accuracy_of_most_confident(confidence: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """[n]: the share of right answers among the 1, 2, ... n most confident; where some are equally confident, what is
    to be expected when they are put in any order."""
    order = np.argsort(-confidence, kind="stable")
    _, tied = np.unique(-confidence[order], return_inverse=True)
    mean = np.bincount(tied, weights=right[order]) / np.bincount(tied)
    return np.cumsum(mean[tied]) / np.arange(1, len(order) + 1)
