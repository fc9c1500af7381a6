"""What a detector is worth: shares against SciPy's intervals, pairs against its test."""

import numpy as np
import pytest
from scipy.stats import binomtest

from analysis.detector import Verdicts, as_text, compared, comparison_as_text, report, worst

CLASSES = ("blurred", "moved", "sharp")


def verdicts(seed: int, n: int = 120) -> Verdicts:
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 3, n)
    probabilities = rng.dirichlet((1, 1, 1), n)
    probabilities[np.arange(n), labels] += rng.random(n)
    files = tuple(f"x/{'ab'[k % 2]}-{k}.jpg" for k in range(n))
    return Verdicts(f"net {seed}", CLASSES, files, labels, probabilities / probabilities.sum(1, keepdims=True))


def interval(count: int, n: int) -> tuple[float, float]:
    found = binomtest(count, n).proportion_ci(method="wilson")
    return found.low, found.high


def test_shares_and_their_intervals() -> None:
    one = verdicts(1)
    found = report(one, "^[a-z]+")
    taken = one.probabilities.argmax(1)
    for k, name in enumerate(CLASSES):
        for of, chosen in (("recall", one.labels == k), ("precision", taken == k)):
            cell, right = found[of][name], int(((taken == one.labels) & chosen).sum())
            assert (cell["count"], cell["n"]) == (right, int(chosen.sum()))
            assert (cell["low"], cell["high"]) == pytest.approx(interval(right, int(chosen.sum())))
        for j in range(3):
            assert found["confusion"][k][j] == np.sum((one.labels == k) & (taken == j))
    sharp = one.labels == 2
    assert found["false_alarms"]["count"] == np.sum(taken[sharp] != 2) and found["false_alarms"]["n"] == sharp.sum()
    assert found["accuracy"]["count"] == sum(found["confusion"][k][k] for k in range(3))
    assert {name: of["n"] for name, of in found["groups"].items()} == {"a": 60, "b": 60}
    assert sum(row[0] for row in found["reliability"]) == 120
    text = as_text(found)
    assert all(name in text for name in CLASSES) and "group a" in text


def test_a_class_that_is_not_there_has_no_share() -> None:
    one = verdicts(1)
    kept = one.labels != 0
    some = Verdicts("n", CLASSES, tuple(np.array(one.files)[kept]), one.labels[kept], one.probabilities[kept])
    assert report(some, "^[a-z]+")["recall"]["blurred"]["share"] is None


def test_pairs() -> None:
    own, base = verdicts(1), verdicts(2)
    found = compared(own, base)
    only_own, only_base = int((own.right & ~base.right).sum()), int((~own.right & base.right).sum())
    assert (found["only_own"], found["only_base"]) == (only_own, only_base)
    assert found["difference"] == pytest.approx((only_own - only_base) / 120)
    assert found["low"] < found["difference"] < found["high"]
    assert "net 1 minus net 2" in comparison_as_text(found)
    with pytest.raises(ValueError, match="same photos"):
        compared(own, verdicts(2, 60))


def test_the_worst_are_wrong_and_sure() -> None:
    one = verdicts(1)
    places = worst(one, 5)
    sure = one.probabilities.max(1)
    assert not one.right[places].any()
    assert sure[places].tolist() == sorted(sure[~one.right], reverse=True)[:5]
