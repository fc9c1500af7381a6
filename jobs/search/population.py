"""Population based training: Ray Tune's scheduler, whose memory is the runs, and whose take-overs are new runs.

The trials are the population. All train to the next multiple of `population.every_epochs`; then those at the bottom
take over the checkpoints of those at the top, with changed settings. Ray's synchronous form is used, and every draw
depends on the search's seed, the epoch and the trial's number alone: so it makes no difference how many train at a
time, nor whether the search was interrupted.
"""

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from blurtrain.errors import SettingsError
from blurtrain.run import Run
from blurtrain.trials import Trial, values
from jobs.search import space as spaces
from jobs.search.file import SearchFile
from jobs.search.lineage import before, starts_of, taken_over
from jobs.search.space import Dimension, Flat

NEIGHBOURS = 32
"""Whole numbers of so many values at most go to the next one up or down; of more, by a factor as other numbers."""
Write = Callable[[Trial], Any]


class Population:
    """The members of a search in this session: where they stand, and what becomes of them."""

    def __init__(self, file: SearchFile, runs: Path, trials: dict[int, Trial], write: Write):
        """trials: all that there are, by number, kept up to date here; write: notes one on disk."""
        self.file, self.runs, self.trials, self.write = file, runs, trials, write
        every, stands = self.every, [self._stands_at(trial) for trial in trials.values()]
        behind = min((at for at, t in zip(stands, trials.values(), strict=True) if not t.ended), default=0)
        # What was taken over at this epoch may not be all; where somebody has gone on from there, it is.
        begun = len(trials) < file.search.trials
        passed = behind if behind and max(stands) > behind and not begun else max(0, behind - every)
        self.passed = 0 if begun else passed
        """The epoch from which all go on in this session; what they have reached later they only report once more."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `jobs.search.driver.Session`."""
        return {}

    @property
    def every(self) -> int:
        """Epochs between two comparisons."""
        return self.file.search.population.every_epochs

    @property
    def first(self) -> int:
        """The epoch after which members are compared first in this session."""
        return self.passed + self.every

    def _stands_at(self, trial: Trial) -> int:
        """The last epoch after which it was, or is to be, compared."""
        if trial.ended:
            return self.file.base.optimisation.epochs
        starts = starts_of(trial)
        begin = int(starts[0]["epoch"]) if starts else 0
        reached = max(values(self.file.search.objective, self.runs, trial.runs), default=begin)
        return max(begin, reached - reached % self.every)

    def config(self, trial: Trial) -> dict[str, Any]:
        """What a member is to know, beside `work`."""
        then = before(trial, self.first)
        flat = then.flat if then.flat is not None else self._base()
        is_base = then.flat is None
        return {"number": trial.number, "flat": flat, "is_base": is_base, "starts": list(starts_of(then)),
                "reported": self.passed}  # fmt: skip

    def _base(self) -> Flat:
        """The base settings as a point, which may lie outside the space."""
        document = self.file.document
        return {p: spaces.look_up(document, p, d.some()[0]) for p, d in self.file.search.space.items()}

    def take_over(self, number: int, parent: int, epoch: int, sha256: Sequence[str], flat: Flat) -> dict[str, Any]:
        """Let trial `number` go on from `parent`, which has come to `epoch`, at this point; where that is no valid one,
        at the parent's. Returns its new config, as `config` does."""
        trial, source = self.trials[number], before(self.trials[parent], epoch)
        starts = [{"run": r, "epoch": epoch, "sha256": s} for r, s in zip(source.runs, sha256, strict=True)]
        is_base, point = False, self._within(flat)
        try:
            new = taken_over(self.file, trial, source, starts, point)
        except SettingsError:
            is_base, point = source.flat is None, source.flat or self._base()
            new = taken_over(self.file, trial, source, starts, source.flat)
        if new is not trial:
            self.trials[number] = new
            self.write(new)
        self._leave(before(new, epoch), epoch, f"left at epoch {epoch}: goes on from trial {parent}")
        return {"number": number, "flat": point, "is_base": is_base, "starts": starts, "reported": epoch}

    def _within(self, flat: Flat) -> Flat:
        """A point with every value in the space."""
        found = {}
        for path, dimension in self.file.search.space.items():
            value = flat[path]
            if not dimension.holds(value):
                low, high = dimension.limits  # a choice is one of the values anyway
                value = min(max(value, low), high)
            found[path] = value
        return found

    def _leave(self, trial: Trial, epoch: int, message: str) -> None:
        """Mark the runs that nobody goes on with."""
        used = {run_id for other in self.trials.values() for run_id in other.runs}
        for run_id in trial.runs:
            run = Run(self.runs / run_id)
            if run_id not in used and run.result() is None and (run.pruned() or {}).get("message") != message:
                run.mark_pruned(self.file.id, trial.number, epoch, message)

    def drop_checkpoints(self) -> None:
        """Remove states that were kept for others to go on from, and that nobody can, or has gone on from."""
        behind = min((self._stands_at(trial) for trial in self.trials.values()), default=0)
        entries = [entry for trial in self.trials.values() for entry in trial.lineage]
        used = {(start["run"], start["epoch"]) for entry in entries for start in entry["parents"]}
        every = {*(i for t in self.trials.values() for i in t.runs), *(i for entry in entries for i in entry["runs"])}
        for run in (Run(self.runs / run_id) for run_id in every):
            for epoch in range(self.every, behind, self.every):
                if (run.id, epoch) not in used:
                    run.epoch_checkpoint(epoch).unlink(missing_ok=True)


class Pbt(PopulationBasedTraining):
    """Ray's, synchronous, with draws of its own for each member, and without memory."""

    def __init__(self, population: Population):
        file = population.file
        p, space = file.search.population, file.search.space
        super().__init__(
            time_attr="epoch",
            metric="objective",
            mode="max" if file.is_max else "min",
            perturbation_interval=p.every_epochs,
            # The first comparison of this session; Ray would else wait for ever for one that has long been.
            burn_in_period=population.first,
            hyperparam_mutations={"flat": {path: _distribution(dimension) for path, dimension in space.items()}},
            quantile_fraction=p.quantile,
            resample_probability=p.resample,
            log_config=False,
            synch=True,
        )
        self.population = population

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """See Ray's scheduler, which refuses searchers; ours only lists the members."""
        controller: Any = SimpleNamespace(search_alg=None)
        super().on_trial_add(controller, trial)

    def _checkpoint_or_exploit(self, trial: Any, tune_controller: Any, upper: list[Any], lower: list[Any]) -> None:
        """Once for each member after each comparison. Ray draws from the global generators."""
        result = self._last(trial)
        fit = [one for one in upper if all(self._last(one).get("sha256", [""]))]  # its state is there
        seed = [self.population.file.search.searcher.seed, result["epoch"], trial.config["number"]]
        then = random.getstate(), np.random.get_state()
        random.seed(repr(seed))
        np.random.seed(np.random.SeedSequence(seed).generate_state(1))
        try:
            super()._checkpoint_or_exploit(trial, tune_controller, fit, lower if fit else [])
        finally:
            random.setstate(then[0])
            np.random.set_state(then[1])

    def _get_new_config(self, trial: Any, trial_to_clone: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Where one takes over from another."""
        new, operations = super()._get_new_config(trial, trial_to_clone)
        result = self._last(trial_to_clone)
        numbers = trial.config["number"], trial_to_clone.config["number"]
        config = self.population.take_over(*numbers, result["epoch"], result["sha256"], new["flat"])
        return {**trial.config, **config}, operations

    def _last(self, trial: Any) -> dict[str, Any]:
        """What a member has reported when all were compared."""
        result: Any = self._trial_state[trial].last_result
        return dict(result)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See Ray's scheduler."""
        compared = self._next_perturbation_sync
        decision: str = super().on_trial_result(tune_controller, trial, result)
        if self._next_perturbation_sync != compared:
            self.population.drop_checkpoints()
        return decision


def _distribution(dimension: Dimension) -> Any:
    """How a value changes: along a list to its neighbour, or by a factor; or it is drawn anew."""
    listed = dimension.values()
    if dimension.choice is not None or (listed is not None and len(listed) <= NEIGHBOURS):
        return list(listed or ())
    low, high = dimension.limits
    if dimension.integer:
        return tune.randint(int(low), int(high) + 1)
    return tune.loguniform(low, high) if dimension.log_uniform else tune.uniform(low, high)


def worst(file: SearchFile) -> float:
    """The objective of a member that has failed: it is the first to take over."""
    return -math.inf if file.is_max else math.inf
