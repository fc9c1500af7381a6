"""What belongs together: runs that were trained and tested alike form a panel, its regimes are curves over sigma, and
the seeds of a regime are repetitions. Figures and tables are both made from panels."""

import math
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.literature import CLEAR, DATASETS, REGIMES, study_order
from analysis.statistics import Estimate, accuracy, accuracy_ratio

ALIKE = ["dataset", "model", "resolution", "epochs", "split", "truncate", "light", "pixels", "classes"]
"""Runs that differ in one of these are never averaged nor compared in one panel."""


@dataclass(frozen=True)
class Measured:
    """One run: an estimate per sigma."""

    run_id: str
    seed: int
    n: int
    points: dict[float, Estimate]


@dataclass(frozen=True)
class Curve:
    """One regime: an estimate per sigma, over `seeds`, and the runs it comes from."""

    regime: str
    seeds: tuple[int, ...]
    runs: tuple[Measured, ...]
    points: dict[float, Estimate]


@dataclass(frozen=True)
class Panel:
    """All regimes on one dataset, trained and tested alike."""

    dataset: str
    detail: str
    """What tells it from other panels on the same dataset, e.g. `resnet-18, 64 px`; empty if it is alone."""
    model: str
    resolution: int
    epochs: int
    split: str
    truncate: float
    light: str
    pixels: str
    classes: int
    n: tuple[int, int]
    """Fewest and most test images (they differ where the seed also draws the split)."""
    largest_class: float
    """Share of the test images that are of the most frequent class."""
    curves: tuple[Curve, ...]
    ratios: tuple[Curve, ...]
    """Accuracy divided by that of `clear`, for every other regime."""
    clashes: tuple[str, ...]
    """Regimes with several runs of one seed, which differ in settings that no table shows: never averaged, and kept out
    of the ratios."""

    @property
    def title(self) -> str:
        return f"{self.dataset} ({self.detail})" if self.detail else self.dataset

    @property
    def images(self) -> str:
        low, high = self.n
        return f"{low:,}" if low == high else f"{low:,}–{high:,}"

    @property
    def chance(self) -> float:
        return 1 / self.classes

    def curve(self, regime: str) -> Curve | None:
        """The regime's curve, None if it has none or if it clashes."""
        found = [curve for curve in self.curves if curve.regime == regime]
        return found[0] if len(found) == 1 else None

    def ratio(self, regime: str) -> Curve | None:
        return next((curve for curve in self.ratios if curve.regime == regime), None)


def panels(frame: pd.DataFrame) -> list[Panel]:
    """The frame of `analysis.load` as panels, datasets in the order of the study."""
    groups = _by(ALIKE, frame)
    keys = pd.DataFrame(list(groups), columns=ALIKE)
    made = []
    for key, rows in groups.items():
        of_dataset = keys[keys["dataset"] == key[0]]
        varies = [name for name in ALIKE[1:] if of_dataset[name].nunique() > 1]
        made.append(_panel(dict(zip(ALIKE, key, strict=True)), varies, rows))
    order = study_order(DATASETS)
    return sorted(made, key=lambda panel: order(panel.dataset))


def _panel(alike: dict[str, Any], varies: list[str], rows: pd.DataFrame) -> Panel:
    shown = {
        "resolution": "{} px",
        "epochs": "{} epochs",
        "truncate": "cut at {:g} sigma",
        "light": "blurred as {} light",
        "pixels": "tested on {} pixels",
        "classes": "{} classes",
    }
    runs = _by("regime", rows)
    regimes = sorted(runs, key=study_order(REGIMES))
    clashes = tuple(r for r in regimes if runs[r].drop_duplicates("run_id")["seed"].duplicated().any())
    curves: list[Curve] = []
    for regime in regimes:
        apart = list(_by("run_id", runs[regime]).values()) if regime in clashes else [runs[regime]]
        curves += [_accuracy_curve(regime, one) for one in apart]
    ratios = [
        _ratio_curve(regime, runs[regime], runs[CLEAR])
        for regime in regimes
        if CLEAR in regimes and regime != CLEAR and not {regime, CLEAR} & set(clashes)
    ]
    return Panel(
        **alike,
        detail=", ".join(shown.get(name, "{}").format(alike[name]) for name in varies),
        n=(int(rows["n"].min()), int(rows["n"].max())),
        largest_class=float((rows["largest_class"] / rows["n"]).mean()),
        curves=tuple(curves),
        ratios=tuple(curve for curve in ratios if curve.points),
        clashes=clashes,
    )


def _by(columns: str | list[str], rows: pd.DataFrame) -> dict[Any, pd.DataFrame]:
    return dict(iter(rows.groupby(columns)))


def _accuracies(rows: pd.DataFrame) -> dict[float, Estimate]:
    return {
        float(sigma): accuracy(at["top1_count"].tolist(), at["n"].tolist()) for sigma, at in _by("sigma", rows).items()
    }


def _runs(rows: pd.DataFrame) -> tuple[Measured, ...]:
    by_run = _by(["seed", "run_id"], rows).items()
    return tuple(Measured(run_id, int(seed), int(r["n"].iloc[0]), _accuracies(r)) for (seed, run_id), r in by_run)


def _accuracy_curve(regime: str, rows: pd.DataFrame) -> Curve:
    return Curve(regime, tuple(sorted(set(rows["seed"]))), _runs(rows), _accuracies(rows))


def _ratio_curve(regime: str, rows: pd.DataFrame, clear: pd.DataFrame) -> Curve:
    """Only seeds that both regimes have, and sigmas that both were measured at."""
    pairs = rows.merge(clear, on=["sigma", "seed"], suffixes=("", "_clear"))
    points = {
        float(sigma): accuracy_ratio(*(at[c].tolist() for c in ("top1_count", "n", "top1_count_clear", "n_clear")))
        for sigma, at in _by("sigma", pairs).items()
    }
    return Curve(regime, tuple(sorted(set(pairs["seed"]))), _runs(pairs), points)


def drawable(curve: Curve) -> bool:
    """Whether a ratio curve has a point on a logarithmic axis."""
    return any(not math.isnan(e.value) and e.value > 0 for e in curve.points.values())
