"""Verdicts on claims: the corrected interval against the claimed side, and at least three seeds."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measured_runs import dependent, measured

import analysis
from analysis.statistics.estimates import accuracy_contrast, accuracy_difference, accuracy_ratio, paired
from analysis.verdicts.claims import Claim, claims
from analysis.verdicts.verdicts import Finding, verdict_frame, verdicts
from blurtrain.errors import SettingsError
from blurtrain.settings import PRESETS

MakeRun = Callable[..., str]
N = 1000
CLEAR, B2C = (200, 210, 190), (400, 390, 410)


def claim(**said: Any) -> Claim:
    table = {
        "value": "top1", "where": {"regime": "blurry-to-clear", "sigma": 8}, "rows": {"by": ["dataset"]},
        "columns": {"by": "sigma"}, "baseline": {"regime": "clear"}, "show": "difference", **said.pop("table", {}),
    }  # fmt: skip
    content = {"name": "one", "claim": "B2C is better.", "source": "somebody", "table": table, **said}
    return Claim.model_validate(content)


@pytest.fixture
def made(runs: Path, make_run: MakeRun) -> Callable[[str, str, Sequence[int]], None]:
    """Runs of one dataset and regime, with so many images right at sigma 8, one a seed."""

    def make(dataset: str, regime: str, counts: Sequence[int]) -> None:
        for seed, count in enumerate(counts):
            make_run(runs, dataset, regime, seed, {0.0: 900, 8.0: count}, n=N, classes=10, largest_class=100)

    return make


def the_finding(runs: Path, one: Claim) -> Finding:
    (verdict,) = verdicts(runs, [one])
    (finding,) = verdict.findings
    assert verdict.says == finding.says
    return finding


def test_of_one_comparison_the_interval_is_that_of_the_difference(runs: Path, made: Any) -> None:
    made("faces", "clear", CLEAR)
    made("faces", "blurry-to-clear", B2C)
    found = the_finding(runs, claim())
    known = accuracy_difference(B2C, [N] * 3, CLEAR, [N] * 3).difference
    assert (found.effect, found.low, found.high) == pytest.approx((known.value, known.low, known.high))
    assert (found.n, found.seeds, found.says, len(found.runs)) == (N, 3, "holds", 6)
    ratio = the_finding(runs, claim(table={"show": "ratio"}))
    beside = accuracy_ratio(B2C, [N] * 3, CLEAR, [N] * 3)
    assert (ratio.effect, ratio.low, ratio.high) == pytest.approx((beside.value, beside.low, beside.high))


@pytest.mark.parametrize(
    ("said", "counts", "says", "why"),
    [
        ({}, B2C, "holds", ""),
        ({"expected": "lower"}, B2C, "does not hold", ""),
        ({}, (10, 12, 9), "does not hold", ""),
        ({}, (205, 190, 215), "not enough data", "the interval leaves both sides open"),
        ({"margin": -0.15}, (205, 190, 215), "holds", ""),
        ({"margin": 0.15}, B2C, "holds", ""),
        ({"margin": 0.35}, B2C, "does not hold", ""),
        ({}, B2C[:2], "not enough data", "2 seeds; it takes 3"),
        ({}, B2C[:1], "not enough data", "1 seed; it takes 3"),
    ],
)
def test_a_claim_holds_where_the_interval_lies_on_its_side(
    runs: Path, made: Any, said: Mapping[str, Any], counts: Sequence[int], says: str, why: str
) -> None:
    made("faces", "clear", CLEAR)
    made("faces", "blurry-to-clear", counts)
    found = the_finding(runs, claim(**said))
    assert (found.says, found.why) == (says, why)


def test_intervals_are_corrected_for_all_comparisons_of_all_claims(runs: Path, made: Any) -> None:
    made("faces", "clear", CLEAR)
    made("faces", "blurry-to-clear", (240, 262, 235))
    alone = the_finding(runs, claim())
    among = [claim(name=str(k)) for k in range(40)]
    corrected = verdicts(runs, among)[0].findings[0]
    assert corrected.low < alone.low < corrected.effect < alone.high < corrected.high
    assert (alone.says, corrected.says) == ("holds", "not enough data")


def test_the_weakest_comparison_is_the_verdict(runs: Path, made: Any) -> None:
    for dataset, counts in (("faces", B2C), ("pets", B2C)):
        made(dataset, "clear", CLEAR)
        made(dataset, "blurry-to-clear", counts)
    assert verdicts(runs, [claim()])[0].says == "holds"
    made("cars", "clear", CLEAR)
    made("cars", "blurry-to-clear", CLEAR)
    assert verdicts(runs, [claim()])[0].says == "not enough data"
    made("planes", "clear", CLEAR)
    made("planes", "blurry-to-clear", (10, 12, 9))
    assert verdicts(runs, [claim()])[0].says == "does not hold"


def test_a_contrast_divides_one_ratio_by_another(runs: Path, made: Any) -> None:
    for dataset, counts in (("faces", (600, 610, 590)), ("pets", (300, 310, 305))):
        made(dataset, "clear", CLEAR)
        made(dataset, "blurry-to-clear", counts)
    contrast = {"name": "dataset", "of": "faces", "against": ["pets"]}
    found = the_finding(runs, claim(table={"show": "ratio"}, contrast=contrast))
    sides = [accuracy_ratio(counts, [N] * 3, CLEAR, [N] * 3) for counts in ((600, 610, 590), (300, 310, 305))]
    assert found.effect == pytest.approx(sides[0].value / sides[1].value)
    wider = max(math.log(side.high / side.value) for side in sides)
    half = math.log(found.high / found.effect)
    assert wider < half < sum(math.log(side.high / side.value) for side in sides)
    assert found.says == "holds" and len(found.runs) == 12 and found.of.startswith("faces beside pets")
    other = the_finding(runs, claim(table={"show": "ratio"}, contrast={**contrast, "of": "pets", "against": ["faces"]}))
    assert other.says == "does not hold" and other.effect == pytest.approx(1 / found.effect)


MOTION: dict[str, Any] = {
    "table": {"where": {"regime": "sharp-d8", "blur": ["box-8", "disk-8"]}, "columns": {"by": "blur"}},
    "contrast": {"name": "blur", "of": ["box-8"], "against": "disk-8"},
    "expected": "lower",
}


def fine_tuned(runs: Path, make_run: MakeRun, seeds: int = 3, records: bool = True, **more: Any) -> list[np.ndarray]:
    """Runs of two regimes at two blurs; which images are right [seeds, images] of: fine-tuned at box-8, clear at box-8,
    fine-tuned at disk-8, clear at disk-8."""
    rng = np.random.default_rng(0)
    hard, sides = rng.normal(size=200), {}
    for regime, gains in (("sharp-d8", {"box-8": 0.1, "disk-8": 0.9}), ("clear", {"box-8": 0.0, "disk-8": -0.5})):
        for seed in range(seeds):
            right = {blur: (hard + 0.5 * rng.normal(size=200) + gain > 0).astype(int) for blur, gain in gains.items()}
            for blur, of in right.items():
                sides.setdefault((blur, regime), []).append(of)
            as_lists = {blur: of.tolist() for blur, of in right.items()}
            measured(runs, make_run, as_lists, regime, seed, records=records, dataset="imagenette", **more)
    order = [(blur, regime) for blur in ("box-8", "disk-8") for regime in ("sharp-d8", "clear")]
    return [np.array(sides[key]) for key in order]


def test_a_contrast_of_the_same_images_is_a_difference_of_differences(runs: Path, make_run: MakeRun) -> None:
    a, b, c, d = fine_tuned(runs, make_run)
    found = the_finding(runs, claim(**MOTION))
    known = paired(a - b, c - d).difference
    assert (found.effect, found.low, found.high) == pytest.approx((known.value, known.low, known.high))
    assert (found.n, found.seeds, found.says, len(found.runs)) == (200, 3, "holds", 6)
    assert found.of.startswith("box-8 beside disk-8, imagenette")
    turned = {**MOTION, "contrast": {"name": "blur", "of": "disk-8", "against": "box-8"}}
    other = the_finding(runs, claim(**turned))
    assert other.says == "does not hold" and other.effect == pytest.approx(-found.effect)


def test_without_records_its_images_are_taken_for_others_of_each_network_and_blur(
    runs: Path, make_run: MakeRun
) -> None:
    sides = fine_tuned(runs, make_run, records=False)
    found = the_finding(runs, claim(**MOTION))
    known = accuracy_contrast([side.sum(axis=1).tolist() for side in sides], 200)
    assert (found.effect, found.low, found.high) == pytest.approx(
        (known.difference.value, known.difference.low, known.difference.high)
    )
    of_records = paired(sides[0] - sides[1], sides[2] - sides[3]).difference
    assert found.effect == pytest.approx(of_records.value) and found.low < of_records.low


def test_of_objects_it_is_over_objects(runs: Path, make_run: MakeRun) -> None:
    objects = np.repeat(np.arange(20), 10)
    a, b, c, d = fine_tuned(runs, make_run, objects=objects.tolist(), records=False)
    found, known = the_finding(runs, claim(**MOTION)), paired(a - b, c - d, objects).difference
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


def test_a_difference_of_differences_needs_three_seeds_and_all_four_sides(runs: Path, make_run: MakeRun) -> None:
    fine_tuned(runs, make_run, seeds=2)
    found = the_finding(runs, claim(**MOTION))
    assert (found.says, found.why) == ("not enough data", "2 seeds; it takes 3")
    alone = claim(**{**MOTION, "table": {**MOTION["table"], "baseline": {"regime": "blurry"}}})
    without = the_finding(runs, alone)
    assert without.says == "not enough data" and without.why.startswith("no baseline")


def test_what_cannot_be_judged_says_why(runs: Path, made: Any) -> None:
    made("faces", "blurry-to-clear", B2C)
    (verdict,) = verdicts(runs, [claim()])
    assert verdict.says == "not enough data" and verdict.findings[0].why.startswith("no baseline")
    (none,) = verdicts(runs, [claim(table={"where": {"regime": "blurry", "sigma": 8}})])
    assert (none.says, none.findings, none.why) == ("not enough data", (), "no such runs")
    frame = verdict_frame([none])
    assert frame["why"].tolist() == ["no such runs"] and frame["verdict"].tolist() == ["not enough data"]


@pytest.mark.parametrize("show", ["difference", "ratio"])
def test_of_dependent_images_alone_it_is_not_said_that_all_agree(runs: Path, make_run: MakeRun, show: str) -> None:
    for regime, counts in (("clear", CLEAR), ("blurry-to-clear", B2C)):
        for seed, count in enumerate(counts):
            dependent(runs, make_run, "gaussian-8", count, N, regime, seed)
    found = the_finding(runs, claim(table={"show": show, "value": "top5"}))
    assert found.says == "not enough data" and not found.errors
    assert found.why.endswith("or too little of single images is recorded for a corrected one")


def test_claims_that_come_with_the_project(runs: Path, made: Any) -> None:
    named = claims()
    assert len(named) == len(list((PRESETS / "claims").glob("*.yaml"))) >= 8
    regimes = {path.stem for path in (PRESETS / "regimes").glob("*.yaml")}
    for one in named:
        wanted = one.table.where["regime"]
        wanted = [wanted] if isinstance(wanted, str) else wanted
        assert {*wanted, one.table.baseline.get("regime", wanted[0])} <= regimes
    for regime, counts in (("clear", CLEAR), ("blurry-to-clear", B2C), ("blurry", (50, 51, 49))):
        made("faces", regime, counts)
    says = {verdict.claim.name: verdict.says for verdict in analysis.verdicts(runs) if verdict.findings}
    assert says["blurry-to-clear-costs-little"] == "holds", "900 of 1000 everywhere"
    assert "faces-gain-most" not in says, "there is nothing to contrast with"


def test_the_report_shows_them(runs: Path, made: Any, tmp_path: Path) -> None:
    made("faces", "clear", CLEAR)
    made("faces", "blurry-to-clear", B2C)
    page = analysis.report(runs, tmp_path / "out").read_text()
    assert "Do the studies&#39; claims hold here?" in page or "Do the studies' claims hold here?" in page
    assert "Without runs that they could be judged by" in page and "2.00 [" in page
    assert "&lt;/" not in page, "a tag of the page itself is no text"
    lines = (tmp_path / "out" / "tables" / "verdicts.csv").read_text().splitlines()
    assert lines[0].startswith("claim,source,verdict,of,effect,low,high,n,seeds,says,why,runs")


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"table": {"baseline": {}}}, "needs a baseline"),
        ({"table": {"show": "value"}}, "needs a baseline"),
        ({"table": {"show": "ratio"}, "margin": 0.1}, "margin goes with show: difference"),
        (
            {"contrast": {"name": "dataset", "of": "a", "against": ["b"]}},
            "a contrast of datasets goes with show: ratio",
        ),
        ({"contrast": {"name": "blur", "of": "a", "against": "b"}, "table": {"show": "ratio"}}, "any other with show"),
        ({"expect": "higher"}, "expect"),
    ],
)
def test_mistakes_in_a_file_are_one_line(tmp_path: Path, said: dict[str, Any], message: str) -> None:
    import yaml

    table = {"value": "top1", "where": {"regime": "blurry"}, "rows": {"by": "dataset"}, "columns": {"by": "sigma"},
             "baseline": {"regime": "clear"}, "show": "difference", **said.pop("table", {})}  # fmt: skip
    content = {"claim": "x", "source": "y", "table": table, **said}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(SettingsError, match=message) as error:
        claims(tmp_path)
    assert "\n" not in str(error.value) and "mine.yaml" in str(error.value)
