"""What trackers are given of a run: held against the lines of its journal and the files of its measures."""

import json
import math
import os
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from journalled_runs import expected, journal, looked, own_measure, start, trained

from analysis.collecting.read_settings import SettingsReader
from analysis.trackers.names import LONGEST, tracker_id, tracker_name
from analysis.trackers.tracked_run import Point, TrackedRun, tracked_run
from blurtrain.errors import RunError
from blurtrain.settings import load_resolved

MakeRun = Callable[..., str]


def read(path: Path) -> TrackedRun:
    return tracked_run(path, SettingsReader())


def values(points: list[Point]) -> dict[tuple[str, int], float]:
    assert len({(point.name, point.epoch) for point in points}) == len(points)
    return {(point.name, point.epoch): point.value for point in points}


def test_curves_are_those_of_the_journal_with_their_times(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, done=False)
    journal(path, start(), trained(1), trained(2), looked(2), {"event": "step", "at": 8, "loss": 9.0})
    journal(path, start(1), trained(2, loss=0.75), trained(3), looked(3), attempt=2)  # the second epoch was done again
    run = read(path)
    assert values(run.curves) == expected(path)
    assert values(run.curves)["train/loss", 2] == 0.75 and ("val/top1/shake:at:384", 3) in values(run.curves)
    for point in run.curves:
        event = (looked if point.name.startswith("val/") else trained)(point.epoch)
        assert point.time == datetime.fromisoformat(event["time"]).timestamp()
    assert (run.results, run.omitted, run.ended, run.about["state"]) == ([], [], None, "waiting")
    assert run.began == datetime.fromisoformat(start()["time"]).timestamp()


def test_settings_are_all_of_them_flat(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, regime="blurry", seed=3)
    journal(path, start())
    run, settings = read(path), load_resolved(path / "settings.yaml")
    assert run.settings["optimisation.learning_rate"] == settings.optimisation.learning_rate
    assert json.loads(run.settings["augmentation.crop_scale"]) == list(settings.augmentation.crop_scale)
    assert [run.settings[name] for name in ("dataset", "regime", "seed")] == ["faces", "blurry", 3]
    assert {name: run.about[name] for name in ("dataset", "regime", "model", "seed", "state")} == {
        "dataset": "faces", "regime": "blurry", "model": "alexnet-sup", "seed": 3, "state": "done",
    }  # fmt: skip


def test_results_are_those_of_the_measures_with_n(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, counts={0.0: 43, 8.0: 20}, n=86)
    journal(path, start(), {"event": "done", "time": "2026-11-28T11:00:00+00:00"})
    about = {"blur": "disk-4@384", "sigma": None, "n": 86}
    own_measure(path, [{"metric": "σ/gap", "value": 0.5, **about}, {"metric": "right", "count": 43, **about}])
    found = values(read(path).results)
    assert {name: value for (name, epoch), value in found.items() if epoch == 60} == {
        "test/top1/sharp": 50.0, "test/top1/gaussian-8": pytest.approx(100 * 20 / 86), "test/top1/n": 86.0,
        "test/top5/sharp": pytest.approx(100 * 48 / 86), "test/top5/gaussian-8": pytest.approx(100 * 25 / 86),
        "test/top5/n": 86.0,
        "test/gap.σ:2f:gap/disk-4:at:384": 0.5, "test/gap.σ:2f:gap/n": 86.0,
        "test/gap.right/disk-4:at:384": 50.0, "test/gap.right/n": 86.0,
    }  # fmt: skip
    assert len(found) == 10 and {p.time for p in read(path).results} == {read(path).ended}


def test_other_conditions_are_part_of_the_name(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, counts={0.0: 40})
    journal(path, start())
    before = values(read(path).results)
    document = json.loads((path / "evaluations" / "accuracy-0123abcd.json").read_text())
    other = json.dumps(document | {"split": "val", "protocol": "all-256+512@384", "epoch": 10})
    (path / "evaluations" / "accuracy-00000000.json").write_text(other)  # first by name, and still the other one
    after = values(read(path).results)
    assert before.items() <= after.items()
    assert ("val/top1/sharp/protocol:is:all-256:2b:512:at:384/epoch:is:10", 10) in after


def test_what_is_not_finite_is_left_out_and_said(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, done=False)
    journal(path, start(), trained(1, loss=math.nan), trained(2, top1=math.inf), trained(3))
    run = read(path)
    assert ("train/loss", 1) not in values(run.curves) and ("train/loss", 2) in values(run.curves)
    assert run.omitted == ["train/loss of epoch 1 is nan", "train/top1 of epoch 2 is inf"]


def test_journals_of_older_versions_have_the_time_when_they_were_written(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs, done=False)
    events = [{name: value for name, value in one.items() if name != "time"} for one in (start(), trained(1))]
    os.utime(journal(path, *events), (1e9, 1e9))
    assert {point.time for point in read(path).curves} == {1e9}
    old = Path(__file__).parents[1] / "fixtures" / "old" / "runs" / "stripes-clear-timm-resnet18-s0-d882788a8b38"
    assert values(read(old).curves)["train/top1", 2] == 25.0


def test_without_a_journal_it_says_so(runs: Path, make_run: MakeRun) -> None:
    path = runs / make_run(runs)
    with pytest.raises(RunError, match=f"{path}: has no journal"):
        read(path)
    shutil.rmtree(path / "attempts")
    with pytest.raises(RunError, match="has no journal"):
        read(path)


def test_names_that_differ_stay_different() -> None:
    odd = [
        "a@b",
        "a:at:b",
        "a/b",
        "a b",
        "a%b",
        "a=b",
        "a:b",
        "a\nb",
        "ab",
        ".",
        "..",
        "",
        ":",
        "é",
        "a" * 300,
        "a" * 301,
    ]
    names = [tracker_name("test", part) for part in odd] + [tracker_name("test", "a", "b")]
    assert len(set(names)) == len(names) and all(len(name) <= LONGEST for name in names)
    assert tracker_name("test", "top1", "gaussian-2.5") == "test/top1/gaussian-2.5"


def test_ids_of_runs_are_kept_where_an_address_can_have_them() -> None:
    assert tracker_id("faces-clear-alexnet-sup-s0-0123456789ab") == "faces-clear-alexnet-sup-s0-0123456789ab"
    odd = ["a/b", "a?b", "a" * 129, "ä", "-a", "a b"]
    ids = [tracker_id(one) for one in odd]
    assert len(set(ids)) == len(ids) and all(len(one) <= 128 and not set(one) & set("/?ä ") for one in ids)
