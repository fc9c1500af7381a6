"""What the best trial of a search is worth on test images, beside the base settings: the choice was made on others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.collecting.image_records import image_records
from analysis.collecting.runs import called, level_order
from analysis.documents import CONDITIONS
from analysis.searches.trials import Search, TrialFound
from analysis.statistics.estimates import Estimate, accuracy, accuracy_difference, paired

SPLIT = "test"
Correct = dict[str, list[float]]
"""By the name of a level: 1 for each image that is right, and 0 else, by index."""


@dataclass(frozen=True)
class Level:
    """Top-1 at one level of blur, over the seeds that both have."""

    name: str
    """`sharp`, `sigma 8`, or another kernel's label."""
    n: int
    seeds: int
    best: Estimate
    base: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Chosen:
    """The comparison, or why there is none."""

    levels: tuple[Level, ...] = ()
    why_not: str = ""


def chosen(search: Search, frame: pd.DataFrame, runs: Path) -> Chosen:
    """The best of a search beside its base settings, by the frame of `analysis.load`.

    Only what was measured on all test images after the last epoch counts, of both under the same conditions and with
    the same seeds.
    """
    best, base = search.best, search.base
    if best is None:
        return Chosen(why_not="No trial is done yet.")
    if best is base:
        return Chosen(why_not="The base settings are the best of these trials.")
    if base is None:
        return Chosen(why_not="No trial has kept the base settings.")
    if base.state != "done":
        train = f"blurtrain train RUNS/.searches/{search.id}/settings/{base.trial.runs[0]}.yaml --runs RUNS"
        return Chosen(why_not=f"The base settings are {base.state}, and so have no test accuracy; `{train}` trains "
                              "them to the end.")  # fmt: skip
    own, theirs = (_measured(trial, frame) for trial in (best, base))
    pairs = own.merge(theirs, on=["seed", "blur", "sigma", *CONDITIONS], suffixes=("", "_base"))
    if pairs.empty:
        return Chosen(why_not="The best trial and the base settings were not both measured on test images.")
    seeds = pairs["seed"].nunique()
    records = _Records(runs)
    levels = []
    for _, at in pairs.groupby(["blur", "sigma", *CONDITIONS], sort=False, dropna=False):
        if at["seed"].nunique() == seeds:  # others would be of other seeds
            order = level_order(float(at["sigma"].iloc[0]), str(at["blur"].iloc[0]))
            levels.append((order, _level(at.sort_values("seed"), records)))
    return Chosen(tuple(level for _, level in sorted(levels, key=lambda pair: pair[0])))


def _measured(trial: TrialFound, frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame["run_id"].isin(trial.trial.runs)]
    return rows[(rows["split"] == SPLIT) & (rows["epoch"] == rows["epochs"]) & ~rows["drop_last"].astype(bool)]


def _level(at: pd.DataFrame, records: "_Records") -> Level:
    one = at.iloc[0]
    counts, base_counts, ns = (at[name].tolist() for name in ("top1_count", "top1_count_base", "n"))
    objects, dependent = _same_objects(at), bool(one["objects"] > 0)
    own, theirs = at["object_top1"].tolist(), at["object_top1_base"].tolist()
    best = accuracy(counts, ns, own, objects, dependent)
    base = accuracy(base_counts, ns, theirs, objects, dependent)
    by_image = None if dependent else records.of(at)
    if by_image:
        found = paired(*by_image).difference
    else:
        found = accuracy_difference(counts, ns, base_counts, ns, (own, theirs), objects, dependent).difference
    level = called(one["sigma"], one["blur"])
    name = level if math.isnan(one["sigma"]) else f"sigma {level}" if one["sigma"] else "sharp"
    return Level(name, int(one["n"]), len(at), best, base, found)


class _Records:
    """What is known of each image, by run; read where it is asked for."""

    def __init__(self, runs: Path):
        self.runs = runs
        self._known: dict[tuple[Any, ...], Correct] = {}

    def of(self, at: pd.DataFrame) -> tuple[list[list[float]], list[list[float]]] | None:
        """For both, and each seed, which images are right at this level; None where some seed has no records."""
        blur = at["blur"].iloc[0]
        conditions = {name: at[name].iloc[0] for name in CONDITIONS}
        sides = [
            [self._correct(run_id, conditions).get(blur) for run_id in at[name]] for name in ("run_id", "run_id_base")
        ]
        n = int(conditions["n"])
        own, base = ([side for side in of_side if side is not None and len(side) == n] for of_side in sides)
        return (own, base) if len(own) == len(base) == len(at) else None

    def _correct(self, run_id: str, conditions: Mapping[str, Any]) -> Correct:
        key = (run_id, *conditions.values())
        if key not in self._known:
            self._known[key] = _correct(self.runs, run_id, conditions)
        return self._known[key]


def _correct(runs: Path, run_id: str, conditions: Mapping[str, Any]) -> Correct:
    records = image_records(runs, {run_id: int(conditions["epoch"])}, columns=[*CONDITIONS, "blur", "index", "top1"])
    if records.empty or "top1" not in records:
        return {}
    own = records[(records[list(conditions)] == pd.Series(conditions)).all(axis="columns")]
    own = own.drop_duplicates(["blur", "index"], keep="last")
    return {str(blur): rows["top1"].astype(float).tolist() for blur, rows in own.groupby("blur", sort=False)}


def _same_objects(at: pd.DataFrame) -> tuple[int, ...] | None:
    """The images of each object, if they are recorded, and the same in all rows and in those of the base settings."""
    columns = ("object_n", "object_n_base")
    found = {tuple(of) if hasattr(of, "__len__") else None for name in columns for of in at[name]}
    return found.pop() if len(found) == 1 else None
