"""What Ray Tune is told: points that go on, the base settings, drawn points, Optuna's, and how ASHA remembers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray.tune", reason="needs ray[tune]")
pytest.importorskip("optuna", reason="needs optuna")

from ray.tune.schedulers import TrialScheduler
from test_search_file import BASE, pretend

from blurtrain.trials import Trial
from jobs.search.file import SearchFile, checked
from jobs.search.known import Known, flat_of
from jobs.search.prune import Asha, scheduler
from jobs.search.space import Flat, draw
from jobs.search.suggest import Suggestions

SPACE = {
    "optimisation.learning_rate": {"log_uniform": [1e-4, 1e-2]},
    "optimisation.optimiser": {"choice": ["adam", "sgd"]},
    "optimisation.momentum": {"uniform": [0, 0.9], "when": {"optimisation.optimiser": "sgd"}},
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    pretend(tmp_path / "data" / "faces", "train", "val", "test")
    return tmp_path / "data"


def search(data: Path, name: str = "tpe", seed: int = 0, **said: Any) -> SearchFile:
    document = {"base": BASE, "space": SPACE, "searcher": {"name": name, "seed": seed}, **said}
    return checked(document, "mine", "mine.yaml", data)


class Asked:
    """A searcher, asked as Ray does: one trial after the other, each of which reaches what `reward` says."""

    def __init__(
        self,
        file: SearchFile,
        ended: Mapping[int, Known] | None = None,
        others: Sequence[Known] = (),
        open_: Sequence[Trial] = (),
        new: int = 0,
        first: int = 0,
    ):
        self.begun: list[Trial] = []
        self.first = first
        self.file = file
        self.searcher = Suggestions(
            file, ended or {}, others, open_, new, first, self._begin, lambda trial: {"trial": trial}
        )

    def _begin(self, flat: Flat | None) -> Trial:
        self.begun.append(Trial(self.first + len(self.begun), flat, self.file.active(flat), ("run",)))
        return self.begun[-1]

    def all(self) -> list[Trial]:
        asked = []
        while isinstance(config := self.searcher.suggest(f"ray-{len(asked)}"), dict):
            trial = config["trial"]
            asked.append(trial)
            result = {"objective": reward(trial.flat), "training_iteration": 1}
            self.searcher.on_trial_result(f"ray-{len(asked) - 1}", result)
            self.searcher.on_trial_complete(f"ray-{len(asked) - 1}", result)
        return asked


def reward(flat: Flat | None) -> float:
    return 0.0 if flat is None else -abs(flat["optimisation.learning_rate"] - 3e-3)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_the_base_settings_are_first_and_the_same_seed_suggests_the_same(data: Path, name: str) -> None:
    once, again = (Asked(search(data, name), new=14).all() for _ in range(2))
    assert [t.number for t in once] == list(range(14))
    assert once[0].flat is None
    assert once == again
    assert once[1:] != Asked(search(data, name, seed=1), new=14).all()[1:]


def test_what_is_open_goes_on_first_and_only_new_ones_are_drawn(data: Path) -> None:
    file = search(data, "random")
    open_ = [Trial(2, draw(file.search.space, 0, 2), {}, ("a",)), Trial(5, draw(file.search.space, 0, 5), {}, ("b",))]
    asked = Asked(file, open_=open_, new=2, first=6).all()
    assert [t.number for t in asked] == [2, 5, 6, 7]
    assert asked[2].flat == draw(file.search.space, 0, 6)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_search_that_was_interrupted_or_raised_goes_on_as_if_it_had_not_been(data: Path, name: str) -> None:
    """With one trial at a time."""
    file = search(data, name)
    whole = Asked(file, new=14).all()
    points = {trial.number: (flat_of(file, trial), reward(trial.flat)) for trial in whole[:9]}
    ended = {number: (flat, value) for number, (flat, value) in points.items() if flat is not None}
    assert Asked(file, ended, new=5, first=9).all() == whole[9:]


def test_a_grid_ends_with_its_last_point(data: Path) -> None:
    space = {
        "optimisation.learning_rate": {"choice": [1e-3, 2e-3]},
        "optimisation.optimiser": {"choice": ["adam", "sgd"]},
    }
    asked = Asked(search(data, "grid", space=space), new=50).all()
    assert len(asked) == 4
    assert [t.flat and t.flat["optimisation.optimiser"] for t in asked] == [None, "sgd", "adam", "sgd"]


def test_optuna_learns_from_what_others_have_trained(data: Path) -> None:
    """After 30 points whose best lie at 3e-3, it asks nearer to it than without."""
    file = search(data)
    others = [(flat, reward(flat)) for flat in (draw(file.search.space, 9, n) for n in range(30))]
    fresh = [t.flat for t in Asked(file, new=8, first=1).all()]
    learnt = [t.flat for t in Asked(file, others=others, new=8, first=1).all()]
    assert sorted(map(reward, learnt))[4] > sorted(map(reward, fresh))[4]


def test_optuna_passes_over_failures(data: Path) -> None:
    file = search(data)
    asked = Asked(file, ended={1: (draw(file.search.space, 0, 1), None)}, new=12, first=2).all()
    assert len({repr(t.flat) for t in asked}) == 12


class RayTrial:
    def __init__(self, number: int):
        self.trial_id, self.config = f"ray-{number}", {"number": number}


def decisions(pruner: Asha, values: Sequence[tuple[int, int, float]]) -> list[bool]:
    """Whether each result (trial, epoch, objective) stops its trial."""
    trials: dict[int, RayTrial] = {}
    stopped = []
    for number, epoch, value in values:
        if number not in trials:
            pruner.on_trial_add(None, trials.setdefault(number, RayTrial(number)))
        result = {"epoch": epoch, "objective": value, "finished": epoch == 9}
        stopped.append(pruner.on_trial_result(None, trials[number], result) == TrialScheduler.STOP)
    return stopped


RESULTS = [(0, 1, 0.5), (1, 1, 0.6), (2, 1, 0.1), (0, 3, 0.7), (1, 3, 0.8), (3, 1, 0.55), (3, 3, 0.2), (4, 1, 0.9),
           (4, 3, 0.9), (4, 9, 0.1)]  # fmt: skip


def asha(data: Path) -> Asha:
    base = {**BASE, "optimisation": {"epochs": 9}}
    made = scheduler(search(data, base=base, scheduler={"name": "asha", "grace_epochs": 1, "reduction_factor": 3}))
    assert isinstance(made, Asha)
    return made


def test_asha_stops_what_is_not_in_the_upper_third_of_a_rung(data: Path) -> None:
    assert decisions(asha(data), RESULTS) == [False, False, True, False, False, False, True, False, False, False]


def test_the_base_settings_are_never_stopped(data: Path) -> None:
    results = [(1, 1, 0.9), (0, 1, 0.1), (2, 1, 0.1)]
    assert decisions(asha(data), results) == [False, False, True]


@pytest.mark.parametrize("cut", range(1, len(RESULTS)))
def test_asha_decides_after_a_restart_as_it_would_have(data: Path, cut: int) -> None:
    whole, again = decisions(asha(data), RESULTS), asha(data)
    before: dict[int, dict[int, float]] = {}
    for number, epoch, value in RESULTS[:cut]:
        before.setdefault(number, {})[epoch] = value
    # Rungs are filled in the order of epochs, as the results came.
    for number in sorted(before):
        again.remember(number, before[number])
    assert decisions(again, RESULTS[cut:]) == whole[cut:]
