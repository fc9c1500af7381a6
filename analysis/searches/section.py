"""What a report shows of one search: its trials, its figures, and the best beside the base settings."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.collecting.runs import Collected
from analysis.searches.chosen import Chosen, Level, chosen
from analysis.searches.importance import Importance, importance
from analysis.searches.trials import Search, TrialFound, trials_csv
from analysis.statistics.estimates import Estimate
from blurtrain.settings.labels import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from analysis.reporting.on_page import Budget, Drawn

FIGURES = ("parallel", "importance", "learning", "progress")
FILES = ("trials.csv", *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg", "pdf")))
"""All that may lie in the folder of one search."""


@dataclass(frozen=True)
class Section:
    """One search as the page shows it."""

    search: Search
    chosen: Chosen
    importance: Importance
    pictures: dict[str, "Drawn"]
    """By FIGURES."""
    files: dict[str, bytes | str]
    """Content by path below the folder of the report."""

    @property
    def folder(self) -> str:
        """Where its files lie, below the folder of the report."""
        return f"searches/{self.search.id}"

    @property
    def rows(self) -> list[tuple[TrialFound, list[str]]]:
        """Each trial with what it sets, as text, by dimension."""
        return [
            (trial, [shown(active[path]) if path in active else "" for path in self.search.space])
            for trial in self.search.trials
            for active in [trial.trial.active]
        ]

    @property
    def images(self) -> int:
        """That the objective of one run is a mean over."""
        return max((trial.standing.images for trial in self.search.trials), default=0)

    @property
    def differing(self) -> list[str]:
        """Settings of the best that the base settings have otherwise, as `name=value`."""
        best, base = self.search.best, self.search.base
        if best is None or base is None:
            return []
        own, theirs = best.trial.active, base.trial.active
        return [f"{path}={shown(value)}" for path, value in own.items() if path not in theirs or theirs[path] != value]


def section(search: Search, frame: pd.DataFrame, runs: Path, budget: "Budget") -> Section:
    """Draw and compare all that one search shows; `frame` is that of `analysis.load`, `budget` that of the page."""
    from analysis.figures.style import as_files
    from analysis.searches import figures as draw

    weights = importance(search)
    figures: dict[str, Figure | None] = {
        "parallel": draw.parallel_figure(search),
        "importance": draw.importance_figure(search, dict(weights.shares), weights.trials) if weights.shares else None,
        "learning": draw.learning_figure(search),
        "progress": draw.progress_figure(search),
    }
    folder = f"searches/{search.id}"
    files: dict[str, bytes | str] = {f"{folder}/trials.csv": trials_csv(search)}
    pictures = {}
    for name, figure in figures.items():
        if figure:
            as_file = as_files(figure)
            files |= {f"{folder}/{name}.{kind}": content for kind, content in as_file.items()}
            pictures[name] = budget.drawn(figure, as_file["svg"])
    return Section(search, chosen(search, frame, runs), weights, pictures, files)


def former_files(out: Path) -> list[str]:
    """What an earlier report has left of searches, by path below `out`."""
    found = (path for name in FILES for path in out.glob(f"searches/*/{name}"))
    return [str(path.relative_to(out)) for path in found]


def without_trials(collected: Collected, searches: Sequence[Search], best: bool) -> Collected:
    """What was collected, but for the runs that are trials of a search only.

    The runs of the base settings stay, for they are what a grid would train too, and, where `best` says so, those of
    the best: all others would be so many rows of their own, or stand in the way of a table that means one run.
    """
    trials = {run_id for search in searches for run_id in search.runs()}
    for search in searches:
        kept = [trial for trial in search.trials if trial.is_base or (best and trial.best)]
        trials -= search.runs(kept)
    frame = collected.frame[~collected.frame["run_id"].isin(trials)]
    settings = {run_id: one for run_id, one in collected.settings.items() if run_id not in trials}
    return dataclasses.replace(collected, frame=frame, settings=settings)


# --- filters of the template ----------------------------------------------------------------------------------------


def objective(trial: TrialFound) -> str:
    """`46.67 ± 1.2` (standard deviation over several seeds); a dash where nothing is known."""
    how = trial.standing
    if how.objective is None:
        return "–"
    return f"{how.objective:.4g}" + ("" if how.sd is None else f" ± {how.sd:.2g}")


def points(estimate: Estimate) -> str:
    """A difference in percentage points: `+16.5`; over several seeds with its standard deviation."""
    sd = "" if math.isnan(estimate.sd) else f" ± {100 * estimate.sd:.1f}"
    return f"{100 * estimate.value:+.1f}{sd}"


def points_interval(estimate: Estimate) -> str:
    """`+2.5 to +29.6`: the 95 % interval."""
    return "" if math.isnan(estimate.low) else f"{100 * estimate.low:+.1f} to {100 * estimate.high:+.1f}"


def compared_over(level: Level) -> str:
    """What the interval of a difference is about."""
    over = level.difference.over
    if math.isnan(level.difference.low):
        return "no interval"
    images = "images " if level.seeds > 1 else ""
    return f"over {over}, {f'{images}not in pairs: too wide' if level.difference.wide else 'in pairs'}"


FILTERS: dict[str, Any] = {"objective": objective, "points": points, "points_interval": points_interval,
                           "compared_over": compared_over}  # fmt: skip
