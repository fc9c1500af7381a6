"""What belongs together: runs that differ in regime and seed alone form a panel, its regimes are curves over sigma, and
the seeds of a regime are repetitions. Levels of other kernels stand beside. Figures and tables are both
made from panels."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from analysis.collecting.runs import level_order, swept
from analysis.documents import CONDITIONS
from analysis.literature import CLEAR, DATASETS, study_order
from analysis.statistics.estimates import Estimate, accuracy, accuracy_ratio
from blurtrain.settings.labels import shown

SAID_BY = {
    "resolution": ("data.resolution",),
    "truncate": ("blur.truncate",),
    "light": ("blur.linear_light",),
    "epoch": ("optimisation.epochs",),
    "n": ("data_id", "split"),
    "classes": ("data_id",),
    "largest_class": ("data_id", "split"),
}
"""Conditions that need not be named where what they follow from is."""
_WORDS = {
    "model": "{}",
    "data_id": "data {}",
    "split": "{} split",
    "resolution": "{} px",
    "truncate": "cut at {} sigma",
    "light": "blurred as {} light",
    "pixels": "tested on {} pixels",
    "protocol": "tested by {}",
    "deblur": "deblurred by {}",
    "epoch": "after {} epochs",
    "n": "{} images",
    "classes": "{} classes",
    "largest_class": "{} of the largest class",
}
"""How a panel is distinguished from others; by default NAME=VALUE."""


@dataclass(frozen=True)
class Measured:
    """One run: an estimate per level of blur."""

    run_id: str
    seed: int
    points: dict[float, Estimate]
    """By sigma."""
    others: dict[str, Estimate]
    """Of blurs that are no Gaussians, by their labels."""


@dataclass(frozen=True)
class Curve:
    """One regime: an estimate per level of blur, each over the seeds that were measured there, and the runs it comes
    from."""

    regime: str
    seeds: tuple[int, ...]
    runs: tuple[Measured, ...]
    points: dict[float, Estimate]
    others: dict[str, Estimate]

    @property
    def whole(self) -> dict[float, Estimate]:
        """The points of all seeds: others are not to be joined with them, for a step would be one between seeds."""
        return {sigma: point for sigma, point in self.points.items() if point.seeds == len(self.seeds)}

    @property
    def partial(self) -> dict[float, Estimate]:
        """The points of some of the seeds."""
        return {sigma: point for sigma, point in self.points.items() if point.seeds < len(self.seeds)}


@dataclass(frozen=True)
class Panel:
    """All regimes on one dataset, trained and tested alike."""

    dataset: str
    model: str
    detail: str
    """What distinguishes it from other panels on the same dataset, e.g. `optimisation.learning_rate=0.001, val split`;
    empty if it is alone."""
    conditions: dict[str, Any]
    """CONDITIONS, under which all was measured."""
    alike: dict[str, Any]
    """All that its runs and levels have in common and others need not have: dataset, model, settings, data_id,
    CONDITIONS."""
    epochs: int
    objects: float
    """How many objects the test images show; 0: none is shown twice, NaN: not recorded."""
    curves: tuple[Curve, ...]
    ratios: tuple[Curve, ...]
    """Accuracy divided by that of `clear`, for every other regime."""
    copies: tuple[str, ...]
    """Runs left out because another one here is the same run, seed included, under another name."""

    @property
    def title(self) -> str:
        """The dataset, with `detail` in parentheses where there is any."""
        return f"{self.dataset} ({self.detail})" if self.detail else self.dataset

    @property
    def others(self) -> list[str]:
        """Labels of the blurs that are no Gaussians."""
        labels = {label for curve in self.curves for run in curve.runs for label in run.others}
        return sorted(labels, key=lambda label: level_order(math.nan, label))

    @property
    def classes(self) -> int:
        """How many the network tells apart."""
        return int(self.conditions["classes"])

    @property
    def n(self) -> int:
        """Test images."""
        return int(self.conditions["n"])

    @property
    def chance(self) -> float:
        """Accuracy of guessing, in 0..1, where all classes are as frequent."""
        return 1 / self.classes

    @property
    def largest_class(self) -> float:
        """Share of the test images that are of the most frequent class."""
        return float(self.conditions["largest_class"]) / self.n

    def curve(self, regime: str) -> Curve | None:
        """The accuracies, in 0..1, of a regime; None where it was not measured."""
        return next((curve for curve in self.curves if curve.regime == regime), None)

    def ratio(self, regime: str) -> Curve | None:
        """The accuracies of a regime divided by those of `clear`; None where there are none."""
        return next((curve for curve in self.ratios if curve.regime == regime), None)

    def runs_of_ratio(self, curve: Curve) -> list[str]:
        """The runs that one of `ratios` comes from: its own, and those of clear with the same seeds."""
        clear = self.curve(CLEAR)
        base = [run.run_id for run in clear.runs if run.seed in curve.seeds] if clear else []
        return [*(run.run_id for run in curve.runs), *base]


def at_the_end(frame: pd.DataFrame, shown: Sequence["Panel"]) -> Sequence["Panel"]:
    """The panels of what was measured after each run's last epoch, which are therefore not named by it; `shown`: those
    of the whole frame."""
    final = frame["epoch"] == frame["epochs"]
    return shown if final.all() else panels(frame[final])


def panels(frame: pd.DataFrame) -> list[Panel]:
    """The frame of `analysis.load` as panels, datasets in the order of the study."""
    settings = [name for name in swept(frame) if not name.startswith("curriculum.")]
    key = ["dataset", "model", *settings, "data_id", *CONDITIONS]
    groups = [(dict(zip(key, values, strict=True)), rows) for values, rows in _by(key, frame).items()]
    details = distinctions([alike for alike, _ in groups])
    made = [_panel(alike, detail, rows) for (alike, rows), detail in zip(groups, details, strict=True)]
    order = study_order(DATASETS)
    return sorted(made, key=lambda panel: order(panel.dataset))


def distinctions(keys: list[dict[str, Any]]) -> list[str]:
    """For each of `Panel.alike`, what distinguishes it from the others on its dataset, in words."""
    details = []
    for key in keys:
        others = [other for other in keys if other["dataset"] == key["dataset"]]
        varies = [name for name in key if len({_word(other[name]) for other in others}) > 1]
        brief = [name for name in varies if not set(SAID_BY.get(name, ())) & set(varies)]
        # Seldom, but then nothing may be left out: two panels that what is named does not tell apart.
        alike = Counter(tuple(_word(other[name]) for name in brief) for other in others)
        names = varies if max(alike.values()) > 1 else brief
        details.append(", ".join(_WORDS.get(name, f"{name}={{}}").format(_word(key[name])) for name in names))
    return details


def _word(value: Any) -> str:
    return shown(value.item() if hasattr(value, "item") else value)  # pandas has numbers of its own


def _panel(alike: dict[str, Any], detail: str, rows: pd.DataFrame) -> Panel:
    # One and the same run may have two names: a regime or model that was given by its name, and one spelled out.
    runs = rows.drop_duplicates("run_id")
    copies = runs[runs.duplicated(["regime", "settings_id", "seed"])]["run_id"]
    rows = rows[~rows["run_id"].isin(copies)]
    by_regime = _by(["regime", "settings_id"], rows)
    names = Counter(regime for regime, _ in by_regime)
    curves: list[Curve] = []
    of_curve: dict[str, _Rows] = {}
    for (regime, _), own in by_regime.items():
        name = regime if names[regime] == 1 else f"{regime} ({_curriculum(own)})"
        of_curve[name] = _rows_of(own)
        curves.append(_curve(name, of_curve[name]))
    ratios = [
        _curve(name, _pairs(own, of_curve[CLEAR]))
        for name, own in of_curve.items()
        if CLEAR in of_curve and name != CLEAR
    ]
    return Panel(
        dataset=alike["dataset"],
        model=alike["model"],
        detail=detail,
        conditions={name: alike[name] for name in CONDITIONS},
        alike=alike,
        epochs=int(rows["epochs"].iloc[0]),
        objects=float(rows["objects"].max()),
        curves=tuple(curves),
        ratios=tuple(curve for curve in ratios if curve.points),
        copies=tuple(copies),
    )


def _curriculum(rows: pd.DataFrame) -> str:
    """The settings of a curriculum whose name is not enough."""
    names = [name for name in swept(rows) if name.startswith("curriculum.")]
    return ", ".join(f"{name}={_word(rows[name].iloc[0])}" for name in names)


def _by(columns: list[str], rows: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    """Groups in the order of the frame, also by values that are missing."""
    return dict(iter(rows.groupby(columns, sort=False, dropna=False)))


class _Row(NamedTuple):
    """One level of one run. A frame for each of the groups of a few rows would take a hundred times as long."""

    run_id: str
    seed: int
    sigma: float
    blur: str
    top1_count: int
    n: int
    object_top1: Sequence[int] | None
    object_n: Sequence[int] | None
    objects: float


_Rows = list[tuple[_Row, ...]]
"""Rows that are estimated from: of an accuracy one, of a ratio that of the regime and that of clear."""


def _rows_of(frame: pd.DataFrame) -> _Rows:
    columns = (frame[name].tolist() for name in _Row._fields)
    return [(_Row(*values),) for values in zip(*columns, strict=True)]


def _grouped(rows: _Rows, key: Callable[[_Row], Any]) -> dict[Any, _Rows]:
    """Groups in the order of the rows."""
    groups: dict[Any, _Rows] = {}
    for row in rows:
        groups.setdefault(key(row[0]), []).append(row)
    return groups


def _estimate(at: _Rows) -> Estimate:
    """Accuracy, or a ratio of two, from the rows of one level, one a seed."""
    objects, dependent = _same_objects(at), at[0][0].objects > 0
    own, *base = zip(*at, strict=True)
    counts, ns, by_object = _side(own)
    if not base:
        return accuracy(counts, ns, by_object, objects, dependent)
    base_counts, base_ns, base_by_object = _side(base[0])
    return accuracy_ratio(counts, ns, base_counts, base_ns, (by_object, base_by_object), objects, dependent)


def _side(rows: Sequence[_Row]) -> tuple[list[int], list[int], list[Sequence[int] | None]]:
    """Right images, images, and right images of each object, of each seed."""
    return [row.top1_count for row in rows], [row.n for row in rows], [_known(row.object_top1) for row in rows]


def _known(counts: Any) -> Sequence[int] | None:
    return tuple(counts) if hasattr(counts, "__len__") else None


def _same_objects(at: _Rows) -> Sequence[int] | None:
    """The images of each object, if they are recorded, and the same in all rows."""
    found = {_known(row.object_n) for rows in at for row in rows}
    return found.pop() if len(found) == 1 else None


def _points(rows: _Rows) -> dict[float, Estimate]:
    """An estimate per sigma."""
    by_sigma = _grouped([row for row in rows if not math.isnan(row[0].sigma)], lambda row: float(row.sigma))
    return {sigma: _estimate(by_sigma[sigma]) for sigma in sorted(by_sigma)}


def _others(rows: _Rows) -> dict[str, Estimate]:
    """An estimate per blur that is no Gaussian."""
    by_blur = _grouped([row for row in rows if math.isnan(row[0].sigma)], lambda row: str(row.blur))
    return {blur: _estimate(at) for blur, at in by_blur.items()}


def _curve(regime: str, rows: _Rows) -> Curve:
    by_run = _grouped(rows, lambda row: (int(row.seed), row.run_id))
    runs = tuple(Measured(run_id, seed, _points(own), _others(own)) for (seed, run_id), own in sorted(by_run.items()))
    seeds = tuple(sorted({seed for seed, _ in by_run}))
    if len(runs) == 1:  # what is to be said of the only run has been estimated
        return Curve(regime, seeds, runs, runs[0].points, runs[0].others)
    return Curve(regime, seeds, runs, _points(rows), _others(rows))


def _pairs(rows: _Rows, clear: _Rows) -> _Rows:
    """Only seeds that both regimes have, and levels that both were measured at."""
    places = {_place(row): row for (row,) in clear}
    return [(row, places[_place(row)]) for (row,) in rows if _place(row) in places]


def _place(row: _Row) -> tuple[Any, ...]:
    return None if math.isnan(row.sigma) else row.sigma, row.blur, row.seed


def drawable(curve: Curve) -> bool:
    """Whether a ratio curve has a point on a logarithmic axis."""
    return any(not math.isnan(e.value) and e.value > 0 for e in curve.points.values())
