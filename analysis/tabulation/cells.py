"""The cells of a table: an estimate with all that it comes from, or the reason why there is none."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.panels import SAID_BY
from analysis.statistics.estimates import Estimate
from analysis.statistics.two_levels import Error
from analysis.tabulation.codes import Bools, Ints
from analysis.tabulation.measured_as_one import OF_ALL
from analysis.tabulation.selection import SERIES, Selection
from analysis.tabulation.specs import OF_A_LEVEL
from blurtrain.settings.labels import shown

MOST_WORDS = 90
"""Characters of an error that a cell shows."""


@dataclass(frozen=True)
class Comparison:
    """A cell beside another one, or why they cannot be compared."""

    difference: Estimate | None = None
    p: float = math.nan
    corrected: float = math.nan
    """`p`, corrected for all comparisons of the table."""
    test: str = ""
    runs: tuple[str, ...] = ()
    """Of the other one."""
    why_not: str = ""
    centre: float = math.nan
    errors: tuple[Error, ...] = ()
    """See `statistics.Comparison`."""
    pair: "tuple[Rows, Rows] | None" = field(default=None, compare=False, repr=False)
    """What is behind both, of the seeds that both have."""


@dataclass(frozen=True)
class Cell:
    """A number of a table, or why there is none."""

    value: str
    """The metric."""
    estimate: Estimate | None = None
    """Shares in 0..1, or nats, or whatever unit the metric has; over several seeds their mean."""
    n: int = 0
    """Test images."""
    objects: int = 0
    """That they show; 0: none twice, or not recorded."""
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    """That it comes from, or that are awaited; those that were measured as one are joined by +."""
    published: float | None = None
    """Percent, or nats."""
    missing: str = ""
    pending: str = ""
    """Runs with the same settings and other seeds that are not done, in words."""
    comparison: Comparison | None = None
    """With the baseline."""
    mark: str = ""
    """best, tied (cannot be distinguished from it), or nothing."""
    not_ranked: str = ""
    """Why it could not be compared with the best."""
    about: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """What it is of, by name: all that row, column and `where` say."""

    @property
    def not_compared(self) -> str:
        """Why not with the baseline, nor with the best."""
        return "; ".join(filter(None, [self.comparison.why_not if self.comparison else "", self.not_ranked]))


@dataclass(frozen=True)
class Rows:
    """The measurements behind a cell, one a seed, in order of their seeds."""

    runs: tuple[str, ...]
    seeds: tuple[int, ...]
    counts: tuple[int, ...] | None
    """None: they are means."""
    values: tuple[float, ...]
    """Shares in 0..1, or whatever the metric is."""
    n: int
    by_object: tuple[Sequence[int] | None, ...]
    object_n: Sequence[int] | None
    """Images of each object; None: no object is known to be shown twice."""
    about: Mapping[str, Any]
    """What all have in common: measure, metric, sigma and SERIES; of runs dataset, regime and model, too, and of such
    that were measured as one data_id; where they differ in one of these, that of each, joined by +."""
    settings_id: str

    @classmethod
    def of(cls, selection: Selection, places: Ints) -> "Rows":
        """Of measurements of one series, one for each seed; a run under two names counts once."""
        runs = selection.run[places]
        _, first = np.unique(selection.seeds[runs], return_index=True)
        places, runs = places[first], runs[first]
        column = selection.column
        counts = column("count")[places]
        names = ("measure", "metric", "sigma", *SERIES, "dataset", "regime", "model")
        by_object, object_n = _objects(selection.by_object(places), selection.object_n(places))
        return cls(
            runs=tuple(column("run_id", of_runs=True)[runs].tolist()),
            seeds=tuple(selection.seeds[runs].tolist()),
            counts=None if np.isnan(counts).any() else tuple(counts.astype(int).tolist()),
            values=tuple(column("value")[places].tolist()),
            n=int(column("n")[places[0]]),
            by_object=by_object,
            object_n=object_n,
            about={name: selection.of_measured(name).value(int(places[0])) for name in names},
            settings_id=str(column("settings_id", of_runs=True)[runs[0]]),
        )

    @classmethod
    def measured_as_one(cls, rows: pd.DataFrame) -> "Rows":
        """Of rows that have run_id, seed, settings_id, dataset, regime, model and data_id beside what
        `Selection.measured` has."""
        rows = rows.drop_duplicates("seed").sort_values("seed")
        one = rows.iloc[0]
        by_object, object_n = _objects(rows["by_object"], rows["object_n"])
        return cls(
            runs=tuple(rows["run_id"]),
            seeds=tuple(int(seed) for seed in rows["seed"]),
            counts=None if rows["count"].isna().any() else tuple(rows["count"].astype(int).tolist()),
            values=tuple(rows["value"]),
            n=int(one["n"]),
            by_object=by_object,
            object_n=object_n,
            about={name: one[name] for name in ("measure", "metric", "sigma", *SERIES, *OF_ALL)},
            settings_id=str(one["settings_id"]),
        )

    def of_seeds(self, seeds: Sequence[int]) -> "Rows":
        """Those of these seeds, in their order."""
        places = [self.seeds.index(seed) for seed in seeds]
        return replace(
            self,
            runs=tuple(self.runs[k] for k in places),
            seeds=tuple(seeds),
            counts=self.counts and tuple(self.counts[k] for k in places),
            values=tuple(self.values[k] for k in places),
            by_object=tuple(self.by_object[k] for k in places),
        )


def _objects(by_object: Iterable[Any], object_n: Iterable[Any]) -> tuple[tuple[Any, ...], Sequence[int] | None]:
    """Counts of each object by seed, and the images of each; no counts where not all seeds have the same objects."""
    counts, sizes = ([list(one) if hasattr(one, "__len__") else None for one in of] for of in (by_object, object_n))
    first = next((one for one in sizes if one is not None), None)
    return tuple(counts) if all(one == first for one in sizes) else (None,) * len(counts), first


def differing(selection: Selection, places: Ints) -> list[str]:
    """In what measurements differ beyond their seed; empty: in nothing."""
    if len(places) < 2 or (selection.series[places] == selection.series[places[0]]).all():
        return []
    names = selection.differing(np.unique(selection.run[places]))
    levels = [name for name in SERIES if len(np.unique(selection.of_measured(name).codes[places])) > 1]
    # What a setting says already need not be said again.
    levels = [name for name in levels if not {*SAID_BY.get(name, ())} & {*names, *levels}]
    return [*names, *levels] or ["settings_id"]


def standing(selection: Selection, runs: Sequence[int] | Ints) -> str:
    """How runs that are not done stand, in words."""
    words: dict[str, int] = {}
    for place in runs:
        one = selection.runs.iloc[int(place)]
        state = {"pruned": "pruned by a search"}.get(one["state"], str(one["state"]))
        if state == "running":
            state += f" (epoch {one['epoch']:g} of {one['epochs']})"
        elif one["message"]:
            message = " ".join(str(one["message"]).split())
            state += f" ({message[:MOST_WORDS]}{'…' * (len(message) > MOST_WORDS)})"
        words[state] = words.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in words.items())


def why_empty(
    selection: Selection, match: Mapping[str, Any], fits: Bools, said: Collection[str], found: Collection[str] = ()
) -> tuple[str, tuple[str, ...]]:
    """Why nothing is measured of the runs that `fits`; and which runs are awaited.

    said: the names that lines or `where` say; found: those whose values are in the labels of lines already.
    """
    runs = np.flatnonzero(fits)
    if not len(runs):
        return "no such run", ()
    states = selection.runs["state"].to_numpy()[runs]
    if (states == "done").any():
        levels = [name for name in match if name in OF_A_LEVEL and name in said]
        here = " and ".join(name for name in levels if name in found)
        rest = "".join(f", {name} {_words(match[name])}" for name in levels if name not in found)
        return f"not measured{f' at this {here}' if here else ''}{rest}", ()
    waiting = runs[states != "pruned"] if (states != "pruned").any() else runs
    return standing(selection, waiting), tuple(selection.runs["run_id"].to_numpy()[waiting])


def _words(wanted: Any) -> str:
    return " or ".join(map(shown, wanted)) if isinstance(wanted, list) else shown(wanted)
