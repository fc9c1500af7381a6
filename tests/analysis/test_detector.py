"""What a detector is worth: shares against SciPy's intervals, pairs against its test."""

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from analysis.detector import Verdicts, as_text, compared, comparison_as_text, report, worst

CLASSES = ("blurred", "moved", "sharp")


def verdicts(seed: int, n: int = 120) -> Verdicts:
    rng = np.random.default_rng(seed)
    labels = np.random.default_rng(0).integers(0, 3, n)
    probabilities = rng.dirichlet((1, 1, 1), n)
    probabilities[np.arange(n), labels] += rng.random(n)
    files = tuple(f"x/{'ab'[k % 2]}-{k}.jpg" for k in range(n))
    return Verdicts(f"net {seed}", CLASSES, files, files, labels, probabilities / probabilities.sum(1, keepdims=True))


def shown_thrice(one: Verdicts) -> Verdicts:
    """Each photo as three frames of its scene."""
    files = tuple(f"{k}-{file}" for k in range(3) for file in one.files)
    labels, probabilities = np.tile(one.labels, 3), np.tile(one.probabilities, (3, 1))
    return Verdicts(one.name, one.classes, files, 3 * tuple(one.scenes), labels, probabilities)


def interval(count: int, n: int) -> tuple[float, float]:
    found = binomtest(count, n).proportion_ci(method="wilson")
    return found.low, found.high


def mid_p(one: int, other: int) -> float:
    few, n = min(one, other), one + other
    return float(2 * binom.cdf(few, n, 0.5) - binom.pmf(few, n, 0.5))


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
    files = tuple(np.array(one.files)[kept])
    some = Verdicts("n", CLASSES, files, files, one.labels[kept], one.probabilities[kept])
    assert report(some, "^[a-z]+")["recall"]["blurred"]["share"] is None


def test_frames_of_one_scene_say_no_more_than_one_of_them() -> None:
    once, thrice = report(verdicts(1), "^[a-z]+"), report(shown_thrice(verdicts(1)), "^[a-z]+")
    assert (thrice["n"], thrice["scenes"]) == (360, 120) and "n = 360 photos of 120 scenes" in as_text(thrice)
    assert "n = 120 photos of 120 scenes (95 % intervals: Wilson)" in as_text(once)
    cells = [(once[of], thrice[of]) for of in ("accuracy", "false_alarms")]
    cells += [(once[of][name], thrice[of][name]) for of in ("recall", "precision") for name in CLASSES]
    for one, three in cells:
        assert three["n"] == 3 * one["n"] and three["share"] == pytest.approx(one["share"])
        width = one["high"] - one["low"]
        assert width <= three["high"] - three["low"] < 1.2 * width
        assert three["scenes"] == one["n"]


def test_one_scene_alone_has_no_interval() -> None:
    one = verdicts(1, 10)._replace(scenes=("garden",) * 10)
    found = report(one, "^[a-z]+")
    assert found["accuracy"]["low"] is None and found["accuracy"]["high"] is None
    assert "(one scene)" in as_text(found) and "10 photos of 1 scene " in as_text(found)
    pair = compared(one, verdicts(2, 10)._replace(scenes=one.scenes))
    assert (pair["low"], pair["high"], pair["p"]) == (None, None, None)
    assert "no interval" in comparison_as_text(pair) and "no test" in comparison_as_text(pair)


def test_without_a_class_of_sharp_photos_there_are_no_false_alarms() -> None:
    one = verdicts(1)._replace(classes=("blurred", "moved", "still"))
    found = report(one, "^[a-z]+")
    assert found["false_alarms"] is None and "false alarms" not in as_text(found)
    assert found["accuracy"] == report(verdicts(1), "^[a-z]+")["accuracy"]


def test_pairs() -> None:
    own, base = verdicts(1), verdicts(2)
    found = compared(own, base)
    only_own, only_base = int((own.right & ~base.right).sum()), int((~own.right & base.right).sum())
    assert (found["only_own"], found["only_base"]) == (only_own, only_base)
    assert found["difference"] == pytest.approx((only_own - only_base) / 120)
    assert found["low"] < found["difference"] < found["high"]
    assert found["p"] == pytest.approx(mid_p(only_own, only_base)) and found["test"] == "McNemar, mid-p"
    thrice = compared(shown_thrice(own), shown_thrice(base))
    assert found["high"] - found["low"] <= 1.05 * (thrice["high"] - thrice["low"]) and thrice["p"] >= found["p"] / 2
    assert thrice["test"] == "t over scenes" and "n = 360 photos of 120 scenes" in comparison_as_text(thrice)
    assert "net 1 minus net 2" in comparison_as_text(found)
    with pytest.raises(ValueError, match="same photos"):
        compared(own, verdicts(2, 60))


def test_the_worst_are_wrong_and_sure() -> None:
    one = verdicts(1)
    places = worst(one, 5)
    sure = one.probabilities.max(1)
    assert not one.right[places].any()
    assert sure[places].tolist() == sorted(sure[~one.right], reverse=True)[:5]
