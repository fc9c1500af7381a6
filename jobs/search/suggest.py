"""Which point is tried next: the points that are to go on first, then the searcher's own."""

from collections.abc import Callable, Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher as RaySearcher

from blurtrain.trials import Trial
from jobs.search import space as spaces
from jobs.search.file import SearchFile, points_of_grid
from jobs.search.space import Dimension, Flat, Space

Begin = Callable[[Flat | None], Trial]
"""Makes the record of a new trial at a point."""


class Suggestions(RaySearcher):
    """What Ray Tune asks. Trials that were begun before go on; the base settings are the first; the rest are drawn, or
    come from Optuna, which has learnt from everything that is known."""

    def __init__(self, file: SearchFile, known: Sequence[tuple[Flat, float | None]], open_: Sequence[Trial], new: int,
                 first: int, begin: Begin, config: Callable[[Trial], dict[str, Any]]):  # fmt: skip
        """known: points and what they reached (None: they failed); open_: trials that go on; new: so many new ones may
        begin, the next of them with the number `first`."""
        mode = "max" if file.is_max else "min"
        super().__init__(metric="objective", mode=mode)
        self.file, self.open, self.new, self.next, self.begin, self.config = (
            file,
            list(open_),
            new,
            first,
            begin,
            config,
        )
        self.listed: list[Flat] = points_of_grid(file) if file.search.searcher.name == "grid" else []
        self.tpe = _tpe(file, known, mode) if file.search.searcher.name == "tpe" else None
        self.theirs: set[str] = set()
        self.trials: dict[str, Trial] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """See Ray's Searcher."""
        if self.open:
            trial = self.open.pop(0)
        elif self.new <= 0 or (flat := self._next(trial_id)) is _NO_MORE:
            return RaySearcher.FINISHED
        else:
            trial = self.begin(flat)
            self.new, self.next = self.new - 1, self.next + 1
        self.trials[trial_id] = trial
        return self.config(trial)

    def _next(self, trial_id: str) -> Any:
        search = self.file.search
        if self.next == 0:
            return None
        if search.searcher.name == "grid":
            return self.listed[self.next - 1] if self.next <= len(self.listed) else _NO_MORE
        if self.tpe is not None:
            self.theirs.add(trial_id)
            return _from_optuna(search.space, self.tpe.suggest(trial_id))
        return spaces.draw(search.space, search.searcher.seed, self.next)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """See Ray's Searcher."""
        if self.tpe is not None and trial_id in self.theirs and "objective" in result:
            self.tpe.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """See Ray's Searcher. What Optuna has not suggested itself it learns as a point."""
        if self.tpe is None:
            return
        if trial_id in self.theirs:
            self.tpe.on_trial_complete(trial_id, result, error)
        elif result and "objective" in result and (flat := flat_of(self.file, self.trials[trial_id])) is not None:
            _learn(self.tpe, self.file.search.space, flat, result["objective"])

    def __getstate__(self) -> dict[str, Any]:
        """Nothing: see `jobs.search.driver.Session`."""
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all is rebuilt from the runs."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: all is rebuilt from the runs."""


_NO_MORE: Any = object()


def flat_of(file: SearchFile, trial: Trial) -> Flat | None:
    """The point of a trial; of the base settings, where they lie in the space."""
    return trial.flat if trial.flat is not None else spaces.flat_of(file.document, file.search.space)


# --- Optuna ---------------------------------------------------------------------------------------------------------


def _tpe(file: SearchFile, known: Sequence[tuple[Flat, float | None]], mode: str) -> Any:
    import optuna
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = file.search.space
    # Begun anew after so many points, a sampler with the same seed would draw its first points once more.
    seed = (file.search.searcher.seed + 7919 * len(known)) % 2**32
    domains = {path: _domain(dimension) for path, dimension in space.items()}
    tpe = OptunaSearch(space=OptunaSearch.convert_search_space(domains), metric="objective", mode=mode, seed=seed)
    for flat, value in known:
        _learn(tpe, space, flat, value)
    return tpe


def _learn(tpe: Any, space: Space, flat: Flat, value: float | None) -> None:
    parameters = {path: _to_optuna(space[path], flat[path]) for path in space}
    tpe.add_evaluated_point(parameters, value, error=value is None)


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
