"""What belongs together: runs that differ in regime and seed alone form a panel, its regimes are curves over sigma, and
the seeds of a regime are repetitions. Levels of other kernels stand beside. Figures and tables are both
made from panels."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
        return f"{self.dataset} ({self.detail})" if self.detail else self.dataset

    @property
    def others(self) -> list[str]:
        """Labels of the blurs that are no Gaussians."""
        labels = {label for curve in self.curves for run in curve.runs for label in run.others}
        return sorted(labels, key=lambda label: level_order(math.nan, label))

    @property
    def classes(self) -> int:
        return int(self.conditions["classes"])

    @property
    def n(self) -> int:
        return int(self.conditions["n"])

    @property
    def chance(self) -> float:
        return 1 / self.classes

    @property
    def largest_class(self) -> float:
        """Share of the test images that are of the most frequent class."""
        return float(self.conditions["largest_class"]) / self.n

    def curve(self, regime: str) -> Curve | None:
        return next((curve for curve in self.curves if curve.regime == regime), None)

    def ratio(self, regime: str) -> Curve | None:
        return next((curve for curve in self.ratios if curve.regime == regime), None)


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
    curves, of_curve = [], {}
    for (regime, _), own in by_regime.items():
        name = regime if names[regime] == 1 else f"{regime} ({_curriculum(own)})"
        curves.append(_accuracy_curve(name, own))
        of_curve[name] = own
    ratios = [
        _ratio_curve(name, own, of_curve[CLEAR])
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


def _estimate(at: pd.DataFrame) -> Estimate:
    """Accuracy from the rows of one level, one a seed."""
    own = at["top1_count"].tolist(), at["n"].tolist()
    return accuracy(*own, at["object_top1"].tolist(), same_objects(at), bool(at["objects"].iloc[0] > 0))


def same_objects(at: pd.DataFrame, *names: str) -> tuple[int, ...] | None:
    """The images of each object, if they are recorded, and the same in all rows (and in other columns `names`)."""
    found = {tuple(of) if hasattr(of, "__len__") else None for name in ("object_n", *names) for of in at[name]}
    return found.pop() if len(found) == 1 else None


def _points(rows: pd.DataFrame, estimate: Callable[[pd.DataFrame], Estimate]) -> dict[float, Estimate]:
    """An estimate per sigma."""
    gaussian = rows[rows["sigma"].notna()]
    return {float(sigma): estimate(at) for (sigma,), at in sorted(_by(["sigma"], gaussian).items())}


def _others(rows: pd.DataFrame, estimate: Callable[[pd.DataFrame], Estimate]) -> dict[str, Estimate]:
    """An estimate per blur that is no Gaussian."""
    return {str(blur): estimate(at) for (blur,), at in _by(["blur"], rows[rows["sigma"].isna()]).items()}


def _runs(rows: pd.DataFrame) -> tuple[Measured, ...]:
    by_run = sorted(_by(["seed", "run_id"], rows).items())
    return tuple(
        Measured(run_id, int(seed), _points(r, _estimate), _others(r, _estimate)) for (seed, run_id), r in by_run
    )


def _accuracy_curve(regime: str, rows: pd.DataFrame) -> Curve:
    seeds = tuple(sorted(set(rows["seed"])))
    return Curve(regime, seeds, _runs(rows), _points(rows, _estimate), _others(rows, _estimate))


def _ratio_curve(regime: str, rows: pd.DataFrame, clear: pd.DataFrame) -> Curve:
    """Only seeds that both regimes have, and levels that both were measured at."""
    pairs = rows.merge(clear, on=["sigma", "blur", "seed"], suffixes=("", "_clear"))
    seeds = tuple(sorted(set(pairs["seed"])))
    return Curve(regime, seeds, _runs(pairs), _points(pairs, _ratio), _others(pairs, _ratio))


def _ratio(at: pd.DataFrame) -> Estimate:
    own, n, clear, clear_n = (at[name].tolist() for name in ("top1_count", "n", "top1_count_clear", "n_clear"))
    by_object = (at["object_top1"].tolist(), at["object_top1_clear"].tolist())
    objects, dependent = same_objects(at, "object_n_clear"), bool(at["objects"].iloc[0] > 0)
    return accuracy_ratio(own, n, clear, clear_n, by_object, objects, dependent)


def drawable(curve: Curve) -> bool:
    """Whether a ratio curve has a point on a logarithmic axis."""
    return any(not math.isnan(e.value) and e.value > 0 for e in curve.points.values())
