"""How much each dimension of a search matters for being among its best trials: PED-ANOVA, by Optuna.

Watanabe, Bansal & Hutter (2023), "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces",
IJCAI. Nothing in it is drawn at random. Of a dimension that is not always active, Optuna takes the trials where it is.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from analysis.searches.trials import Dimension, Search, TrialFound
from blurtrain.settings.labels import shown

FEWEST = 10
"""Finished trials, below which nothing is said."""
TOP = 5
"""At least so many trials count as the best, as Optuna advises; of more than 50, a tenth."""


@dataclass(frozen=True)
class Importance:
    """Shares that add up to 1, by the dotted names of the dimensions; or why there are none."""

    shares: Mapping[str, float] = field(default_factory=dict)
    trials: int = 0
    """Finished ones that lie in the space."""
    top: int = 0
    """How many of them count as the best."""
    why_not: str = ""


def importance(search: Search) -> Importance:
    """The importance of each dimension, from the trials that are done."""
    done = [t for t in search.trials if t.state == "done" and t.objective is not None and _inside(search, t)]
    if len(done) < FEWEST:
        return Importance(trials=len(done), why_not=f"{len(done)} finished trials are too few to say what matters; "
                                                    f"it takes {FEWEST}.")  # fmt: skip
    if len({trial.objective for trial in done}) == 1:
        return Importance(trials=len(done), why_not="All finished trials have reached the same.")
    try:
        import optuna
    except ModuleNotFoundError:
        return Importance(trials=len(done), why_not="Optuna is not installed: `pip install 'blurtrain[tune]'`.")
    quantile = max(0.1, TOP / len(done))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = _shares(optuna, search, done, quantile)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        return Importance(trials=len(done), why_not=f"Optuna could not find it: {error}")
    return Importance(shares, len(done), round(quantile * len(done)))


def _shares(optuna: Any, search: Search, done: list[TrialFound], quantile: float) -> dict[str, float]:
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="maximize" if search.is_max else "minimize")
        study.add_trials([_trial(optuna, search, trial) for trial in done])
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        return {path: float(found[path]) for path in search.space if path in found}
    finally:
        optuna.logging.set_verbosity(level)


def _trial(optuna: Any, search: Search, trial: TrialFound) -> Any:
    active = {path: value for path, value in trial.trial.active.items() if path in search.space}
    return optuna.trial.create_trial(
        params={path: _value(search.space[path], value) for path, value in active.items()},
        distributions={path: _distribution(optuna, search.space[path]) for path in active},
        value=trial.objective,
    )


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if dimension.limits is None:
        return optuna.distributions.CategoricalDistribution(list(range(len(dimension.choice or ()))))
    if dimension.integer:
        return optuna.distributions.IntDistribution(*dimension.integer)
    return optuna.distributions.FloatDistribution(*dimension.limits, log=dimension.log_uniform is not None)


def _value(dimension: Dimension, value: Any) -> Any:
    """Choices go by their number: Optuna takes no lists or sections."""
    return _labels(dimension).index(shown(value)) if dimension.choice is not None else value


def _labels(dimension: Dimension) -> list[str]:
    return [shown(value) for value in dimension.choice or ()]


def _inside(search: Search, trial: TrialFound) -> bool:
    """Whether what it sets lies in the space; the base settings need not."""
    for path, value in trial.trial.active.items():
        dimension = search.space.get(path)
        if dimension is None:
            continue
        if dimension.limits is None:
            if shown(value) not in _labels(dimension):
                return False
        elif not isinstance(value, int | float) or not dimension.limits[0] <= value <= dimension.limits[1]:
            return False
    return True
