"""Calibration and coverage against what follows by hand and by loops."""

import numpy as np
import pytest
import torch

from blurtrain.evaluation.measures.calibration import Calibration, accuracy_of_most_confident, reliability


def pooled(confidence: list[float], right: list[int], bins: int = 15) -> dict[str, float]:
    values = {"brier": np.zeros(len(right)), "confidence": np.array(confidence), "_right": np.array(right, bool)}
    return dict(Calibration(bins=bins).pooled(values))  # type: ignore[arg-type]


def test_ten_images_by_hand() -> None:
    # Of two bins: .2 .4 with one right, .5 .6 .7 .7 .8 1 with four right.
    found = pooled([0.2, 0.4, 0.5, 0.6, 0.7, 0.7, 0.8, 1.0], [0, 1, 0, 1, 1, 1, 0, 1], bins=2)
    low, high = abs(0.5 - 0.3), abs(4 / 6 - 4.3 / 6)
    assert found["ece"] == pytest.approx((2 * low + 6 * high) / 8)
    assert found["largest_gap"] == pytest.approx(low)
    # The surest four (50 %) are 1.0, .8, .7, .7, of which three are right.
    assert found["top1_at_50"] == pytest.approx(3 / 4)
    assert found["top1_at_75"] == pytest.approx(4 / 6), "of those that are .5 and more, the best six"


def test_a_confidence_of_one_is_in_the_last_bin_and_borders_are_above() -> None:
    assert reliability(np.array([0.0, 0.0999, 0.1, 0.9999, 1.0]), np.ones(5), 10)[:, 0].tolist() == [
        2, 1, 0, 0, 0, 0, 0, 0, 0, 2,
    ]  # fmt: skip


def test_what_is_always_sure_and_half_right_is_half_off() -> None:
    found = pooled([1.0] * 10, [1, 0] * 5)
    assert found["ece"] == found["largest_gap"] == 0.5
    assert found["top1_at_50"] == 0.5 == found["aurc"], "the equally confident in any order"


def test_coverage_is_the_mean_over_all_orders_of_the_equally_confident() -> None:
    rng = np.random.default_rng(0)
    confidence, right = rng.integers(0, 4, 12) / 4, rng.integers(0, 2, 12).astype(float)
    orders = []
    for _ in range(4000):
        order = np.lexsort([rng.random(12), -confidence])
        orders.append(np.cumsum(right[order]) / np.arange(1, 13))
    np.testing.assert_allclose(accuracy_of_most_confident(confidence, right), np.mean(orders, 0), atol=0.02)


def test_brier_and_confidence_of_one_image() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log()
    found = Calibration().values(logits, torch.tensor([1]))
    assert float(found["brier"]) == pytest.approx(0.5**2 + 0.7**2 + 0.2**2)
    assert float(found["confidence"]) == pytest.approx(0.5) and not bool(found["_right"])
