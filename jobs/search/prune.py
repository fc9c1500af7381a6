"""Which trial is stopped early: Ray Tune's schedulers, with a memory that outlives Ray."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from jobs.search.file import SearchFile


@dataclass(frozen=True)
class _Named:
    """A trial as its scheduler knows it."""

    trial_id: str


def _named(number: int) -> Any:
    """By our number, which is the same after a restart."""
    return _Named(str(number))


CONTROLLER: Any = None
"""Ray's controller, of which the scheduler asks nothing here."""


class Asha(ASHAScheduler):
    """Ray's asynchronous successive halving, that knows what earlier sessions of the search have reached."""

    def remember(self, number: int, values: Mapping[int, float]) -> None:
        """What a trial had reached by epoch, before this session."""
        self._add(number)
        for epoch in sorted(values):
            super().on_trial_result(CONTROLLER, _named(number), {"epoch": epoch, "objective": values[epoch]})

    def _add(self, number: int) -> None:
        if str(number) not in self._trial_info:
            super().on_trial_add(CONTROLLER, _named(number))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """See Ray's scheduler."""
        self._add(trial.config["number"])

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """See Ray's scheduler. A trial that is over is not stopped in its last moment; nor, ever, the base settings,
        which what is found is compared with on test images."""
        number = trial.config["number"]
        decision: str = super().on_trial_result(tune_controller, _named(number), result)
        return TrialScheduler.CONTINUE if result.get("finished") or number == 0 else decision

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Nothing: its rungs keep what it has reached."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Nothing: its rungs keep what it has reached."""


def scheduler(file: SearchFile) -> FIFOScheduler:
    """The one that a search asks for."""
    s = file.search.scheduler
    if s.name == "none":
        return FIFOScheduler()
    epochs = file.base.optimisation.epochs
    return Asha(
        time_attr="epoch",
        metric="objective",
        mode="max" if file.is_max else "min",
        max_t=max(epochs, s.grace_epochs),
        grace_period=s.grace_epochs,
        reduction_factor=s.reduction_factor,
        stop_last_trials=False,
    )
