"""Which point is tried next: the points that are to go on first, then the searcher's own."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher as RaySearcher

from blurtrain.trials import Trial
from jobs.search import space as spaces
from jobs.search.file import SearchFile
from jobs.search.known import Known, flat_of
from jobs.search.space import Dimension, Flat, Space

Begin = Callable[[Flat | None], Trial]
"""Makes the record of a new trial at a point."""


class Suggestions(RaySearcher):
    """What Ray Tune asks. Trials that were begun before go on; the base settings are the first; the rest are drawn, or
    come from Optuna, which has learnt from everything that is known.

    Each suggestion is a function of the search's seed, the trial's number and what is known by then, as if this process
    had only just been started: whether it was interrupted makes no difference.
    """

    def __init__(self, file: SearchFile, ended: Mapping[int, Known], others: Sequence[Known], open_: Sequence[Trial],
                 new: int, first: int, begin: Begin, config: Callable[[Trial], dict[str, Any]]):  # fmt: skip
        """ended: the points of trials that have ended, by number; others: points that somebody else has trained; open_:
        trials that go on; new: so many new ones may begin, the next of them with the number `first`."""
        super().__init__(metric="objective", mode="max" if file.is_max else "min")
        self.file, self.open, self.new, self.next, self.begin, self.config = (
            file,
            list(open_),
            new,
            first,
            begin,
            config,
        )
        self.ended, self.others = dict(ended), others
        self.listed: list[Flat] = file.grid if file.search.searcher.name == "grid" else []
        self.trials: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> Any:
        """See Ray's Searcher."""
        if self.open:
            trial = self.open.pop(0)
        elif self.new <= 0 or (flat := self._next()) is _NO_MORE:
            return RaySearcher.FINISHED
        else:
            trial = self.begin(flat)
            self.new, self.next = self.new - 1, self.next + 1
        self.trials[trial_id] = trial
        return self.config(trial)

    def _next(self) -> Any:
        search = self.file.search
        if self.next == 0:
            return None
        if search.searcher.name == "grid":
            return self.listed[self.next - 1] if self.next <= len(self.listed) else _NO_MORE
        if search.searcher.name == "tpe":
            return from_tpe(self.file, [*(self.ended[n] for n in sorted(self.ended)), *self.others], self.next)
        return spaces.draw(search.space, search.searcher.seed, self.next)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See Ray's Searcher."""
        trial, result = self.trials[trial_id], result or {}
        if (flat := flat_of(self.file, trial)) is not None and ("objective" in result or "failed" in result):
            self.ended[trial.number] = flat, None if "failed" in result else result["objective"]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See Ray's Searcher. Only how a trial ends counts."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `jobs.search.driver.Session`."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all is rebuilt from the runs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: all is rebuilt from the runs."""


_NO_MORE: Any = object()


# --- Optuna ---------------------------------------------------------------------------------------------------------


def from_tpe(file: SearchFile, known: Iterable[Known], number: int) -> Flat:
    """The point of trial `number`, by Optuna's tree-structured Parzen estimator, from what is known."""
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space, mode = file.search.space, "max" if file.is_max else "min"
    seed = int(np.random.SeedSequence([file.search.searcher.seed, number]).generate_state(1)[0])
    domains = {path: _domain(dimension) for path, dimension in space.items()}
    tpe: Any = OptunaSearch(space=OptunaSearch.convert_search_space(domains), metric="objective", mode=mode, seed=seed)
    for flat, value in known:
        parameters = {path: _to_optuna(space[path], flat[path]) for path in space}
        tpe.add_evaluated_point(parameters, value, error=value is None)
    return _from_optuna(space, tpe.suggest(str(number)))


def _domain(dimension: Dimension) -> Any:
    """Choices go by their number: Optuna takes no lists or sections."""
    if dimension.choice is not None:
        return tune.choice(list(range(len(dimension.choice))))
    low, high = dimension.limits
    if dimension.integer:
        return tune.randint(int(low), int(high) + 1)
    return tune.loguniform(low, high) if dimension.log_uniform else tune.uniform(low, high)


def _to_optuna(dimension: Dimension, value: Any) -> Any:
    return dimension.choice.index(value) if dimension.choice is not None else value


def _from_optuna(space: Space, suggested: dict[str, Any]) -> Flat:
    return {
        path: dimension.choice[suggested[path]] if dimension.choice is not None else suggested[path]
        for path, dimension in space.items()
    }
