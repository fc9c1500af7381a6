"""The searches in a folder of runs: what was searched, how each trial stands, and which is the best."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from blurtrain.errors import BlurtrainError, SettingsError
from blurtrain.objective import Objective
from blurtrain.run import Run
from blurtrain.schema import validate
from blurtrain.settings import Settings
from blurtrain.settings.labels import short_names, shown
from blurtrain.trials import Standing, Study, Trial, best_of, standing, studies


class _Lenient(BaseModel):
    # What searches may add later is no reason to refuse one.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Dimension(_Lenient):
    """The values that one setting may have: one of the first four, and on what it depends."""

    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    integer: tuple[int, int] | None = None
    choice: tuple[Any, ...] | None = None
    when: dict[str, Any] = {}

    @property
    def limits(self) -> tuple[float, float] | None:
        """Lowest and highest value; None of choices."""
        return self.uniform or self.log_uniform or self.integer


class Searcher(_Lenient):
    """Who says what is tried."""

    name: str = ""


class Scheduler(_Lenient):
    """What stops trials early: asha, or none."""

    name: str = "none"
    grace_epochs: int = Field(1, ge=1)
    reduction_factor: float = Field(3, gt=1)

    def rungs(self, epochs: int) -> list[float]:
        """Epochs after which ASHA decides who goes on."""
        if self.name != "asha":
            return []
        count = math.ceil(math.log(max(1.0, epochs / self.grace_epochs), self.reduction_factor) + 1)
        found = [self.grace_epochs * self.reduction_factor**k for k in range(count)]
        return [rung for rung in found if rung < epochs]


class Population(_Lenient):
    """How population based training goes on: what share of the members takes over from others, and after how many
    epochs."""

    every_epochs: int = Field(1, ge=1)
    quantile: float = Field(0.25, gt=0, le=0.5)


class SearchRecord(_Lenient):
    """`search.json`."""

    name: str
    space: dict[str, Dimension] = Field(min_length=1)
    objective: Objective
    seeds: tuple[int, ...] = (0,)
    searcher: Searcher = Searcher()
    scheduler: Scheduler = Scheduler()
    population: Population = Population()
    trials: int = 0

    @property
    def is_population(self) -> bool:
        """Whether trials are a population, of which none is stopped early."""
        return self.searcher.name == "pbt"


@dataclass(frozen=True)
class TrialFound:
    """One trial, as it stands."""

    trial: Trial
    standing: Standing
    epochs: int
    """Its runs are to have; 0: not known, none has begun."""
    best: bool = False

    @property
    def number(self) -> int:
        """Its place in the search, from 0 on."""
        return self.trial.number

    @property
    def is_base(self) -> bool:
        """Whether it has the base settings."""
        return self.trial.flat is None and not self.trial.lineage

    @property
    def state(self) -> str:
        """done, pruned, failed, running or open."""
        return self.standing.state

    @property
    def objective(self) -> float | None:
        """The mean over its seeds, in the metric's own unit; None where no epoch has a value."""
        return self.standing.objective

    @property
    def ended_by(self) -> str:
        """What ended it, or how far it is; and from which trials it has gone on."""
        entries = self.trial.lineage
        return "; ".join([self._end, *(f"went on from trial {e['from']} after epoch {e['epoch']}" for e in entries)])

    @property
    def _end(self) -> str:
        how = self.standing
        if how.state == "done":
            return f"trained for all {self.epochs} epochs" if how.at >= self.epochs else f"ended after epoch {how.at:g}"
        if how.state == "pruned":
            return f"pruned after epoch {how.epoch} of {self.epochs}: others promised more"
        if how.state == "failed":
            return f"failed: {self.trial.message}"
        return f"{'running' if how.state == 'running' else 'to go on'}: epoch {how.at:g} of {self.epochs}"


@dataclass(frozen=True)
class Search:
    """One search, with its trials by number."""

    id: str
    record: SearchRecord
    is_max: bool
    """Whether more of the objective is better."""
    trials: tuple[TrialFound, ...]

    @property
    def space(self) -> Mapping[str, Dimension]:
        """The dimensions by their dotted names."""
        return self.record.space

    @cached_property
    def names(self) -> dict[str, str]:
        """Short names of the dimensions, by their dotted ones."""
        return short_names(self.space)

    @property
    def metric(self) -> str:
        """What is searched for, in words."""
        return self.record.objective.words

    @property
    def epochs(self) -> int:
        """That the longest trials have."""
        return max((trial.epochs for trial in self.trials), default=0)

    @property
    def rungs(self) -> list[float]:
        """Epochs after which trials may be stopped; empty where none is, as of a population."""
        return [] if self.record.is_population else self.record.scheduler.rungs(self.epochs)

    @property
    def best(self) -> TrialFound | None:
        """The best of the trials that are done; the first of equals."""
        return next((trial for trial in self.trials if trial.best), None)

    @property
    def base(self) -> TrialFound | None:
        """The trial of the base settings."""
        return next((trial for trial in self.trials if trial.is_base), None)

    @property
    def how(self) -> str:
        """Who says what is tried, and what is stopped, in words."""
        s, population = self.record.scheduler, self.record.population
        seeds = ", ".join(map(str, self.record.seeds))
        stops = (
            f"ASHA, first after epoch {s.grace_epochs}, one of {s.reduction_factor:g} goes on" if self.rungs else "none"
        )
        if self.record.is_population:
            stops = (
                f"none; every {population.every_epochs} epochs the lowest {100 * population.quantile:g} % take over "
                "from the highest"
            )
        more = "s" if len(self.record.seeds) > 1 else ""
        return f"searcher: {self.record.searcher.name or 'unknown'}; early stopping: {stops}; seed{more} {seeds}"

    def counts(self) -> str:
        """E.g. "16 trials: 5 done, 11 pruned"."""
        states = [trial.state for trial in self.trials]
        parts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
        left = max(0, self.record.trials - len(states))
        return f"{len(states) + left} trials: {', '.join([*parts, *([f'{left} to begin'] if left else [])])}"

    def runs(self, trials: Sequence[TrialFound] | None = None) -> set[str]:
        """Ids of the runs of these trials, by default of all; also of what they were before they took over."""
        chosen = [found.trial for found in (self.trials if trials is None else trials)]
        return {
            run_id for trial in chosen for runs in (trial.runs, *(e["runs"] for e in trial.lineage)) for run_id in runs
        }


def searches(runs: str | Path) -> tuple[list[Search], list[str]]:
    """All searches in a folder of runs, by name; and, in plain words, which cannot be read."""
    found, odd = [], []
    for study in studies(Path(runs)):
        try:
            found.append(_read(study))
        except BlurtrainError as error:
            odd.append(f"search {study.id} is not shown: {error}")
    return found, odd


def _read(study: Study) -> Search:
    record: SearchRecord = validate(study.document(), str(study.folder / "search.json"), SearchRecord)
    listed = study.trials()
    settings = {trial.number: _settings(study, trial) for trial in listed}
    known = next((one for one in settings.values() if one is not None), None)
    mode = record.objective.mode
    is_max = mode == "max" if mode else known is None or record.objective.is_max(known)

    def epochs(number: int) -> int:
        one = settings[number] or known
        return one.optimisation.epochs if one else 0

    stand = [standing(record.objective, study.runs, trial) for trial in listed]
    top = best_of([(how.state, how.objective) for how in stand], is_max)
    trials = [
        TrialFound(trial, how, epochs(trial.number), k == top)
        for k, (trial, how) in enumerate(zip(listed, stand, strict=True))
    ]
    return Search(study.id, record, is_max, tuple(trials))


def _settings(study: Study, trial: Trial) -> Settings | None:
    """Of the first of its runs that has begun."""
    for run_id in trial.runs:
        with contextlib.suppress(SettingsError, OSError):
            return Run(study.runs / run_id).settings
    return None


def trials(runs: str | Path) -> pd.DataFrame:
    """A row a trial of all searches in a folder of runs.

    Columns: search (its id), trial (its number), state (done, pruned, failed, running, open), epoch (the last with a
    value of the objective; 0: none), epochs, metric (what is searched for), objective (the mean over the seeds at that
    epoch, in the metric's own unit), sd (over several seeds), seeds, n (images that each seed's objective is a mean
    over), best (of those that are done), base (whether it has the base settings), then a column for each setting in a
    space by its dotted name (missing where a trial does not set it), ended_by, and runs (their ids, separated by
    blanks). Empty where there is no search; one that cannot be read is left out.
    """
    return pd.DataFrame([row for search in searches(runs)[0] for row in _rows(search)])


def trials_csv(search: Search) -> str:
    """The trials of one search as CSV."""
    return str(pd.DataFrame(_rows(search)).to_csv(index=False, float_format="%.12g", lineterminator="\n"))


def _rows(search: Search) -> list[dict[str, Any]]:
    return [
        {
            "search": search.id,
            "trial": one.number,
            "state": one.state,
            "epoch": one.standing.epoch,
            "epochs": one.epochs,
            "metric": search.metric,
            "objective": one.objective,
            "sd": one.standing.sd,
            "seeds": len(one.trial.runs),
            "n": one.standing.images,
            "best": one.best,
            "base": one.is_base,
            **{path: _plain(one.trial.active.get(path)) for path in search.space},
            "ended_by": one.ended_by,
            "runs": " ".join(one.trial.runs),
        }
        for one in search.trials
    ]


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int | float | str) else shown(value)
