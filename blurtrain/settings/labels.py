"""What runs are called in tables, and the settings in which they differ: one place for grids, status and analysis.

`regime` and `model` of a run name presets, but its settings may say something else than these presets do. In tables
a run is called what it is; its id keeps the names that it was given.
"""

import functools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from blurtrain.blur.curriculum import Curriculum
from blurtrain.documents import read_yaml, shown
from blurtrain.settings import PRESETS, Settings, compose, identifying, model_name

__all__ = ["NAMES", "differences", "model_label", "regime_label", "short_names", "shown"]

NAMES = ("dataset", "regime", "model", "seed")
"""What a run is called, and which repetition it is: columns of every table."""


def model_label(settings: Settings) -> str:
    """The model's name, or the network's where the preset of that name has another architecture."""
    architecture = settings.network.architecture
    return settings.model if _architectures().get(settings.model, architecture) == architecture else (
        model_name(architecture)
    )  # fmt: skip


def regime_label(settings: Settings) -> str:
    """The regime's name; where the preset of that name has another curriculum, that of a preset which has this one, or
    else the curriculum itself, e.g. `constant sigma=4`."""
    presets, curriculum = _curricula(), settings.curriculum
    if presets.get(settings.regime, curriculum) == curriculum:
        return settings.regime
    return next((name for name, preset in presets.items() if preset == curriculum), None) or curriculum.describe()


@functools.cache
def _curricula() -> dict[str, Curriculum]:
    # Their curricula alone: what else a preset sets may want more of the run.
    presets = {name: read_yaml(PRESETS / "regimes" / f"{name}.yaml").get("curriculum") for name in _names("regimes")}
    nameless = {"dataset": "any", "regime": "any"}
    return {
        name: compose({**nameless, "curriculum": curriculum}, name).curriculum
        for name, curriculum in presets.items()
        if curriculum is not None
    }


@functools.cache
def _architectures() -> dict[str, str]:
    clear = {"schedule": "constant", "sigma": 0}
    return {
        name: compose(
            {"dataset": "any", "regime": "any", "curriculum": clear, "model": name}, name
        ).network.architecture
        for name in _names("models")
    }


def _names(kind: str) -> list[str]:
    return sorted(path.stem for path in (PRESETS / kind).glob("*.yaml"))


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """Dotted names of settings, each with the least of its end that tells it from the others and is no number alone:
    learning_rate, sigmas.0."""
    paths = list(paths)

    def end(path: str) -> str:
        parts = path.split(".")
        for count in range(1, len(parts)):
            short = ".".join(parts[-count:])
            alike = sum(other == short or other.endswith(f".{short}") for other in paths)
            if alike == 1 and not parts[-count].isdigit():
                return short
        return path

    return {path: end(path) for path in paths}


def differences(runs: Sequence[Settings]) -> dict[str, list[Any]]:
    """The settings, by dotted name, in which runs on one dataset differ beyond what their labels say, each with its
    value in every run (None: this run has no such setting).

    The label of a model says its architecture, that of a regime its curriculum. Settings that never change the weights
    do not count.
    """
    kinds: dict[tuple[Any, ...], int] = {}  # runs of a grid share their sections: each kind is looked at once
    kind_of = [kinds.setdefault(kind(s), len(kinds)) for s in runs]
    one_of = dict(zip(kind_of, runs, strict=True))
    kinds_in_order = [one_of[k] for k in range(len(kinds))]
    values = [identifying(settings) for settings in kinds_in_order]
    labels = [(s.dataset, regime_label(s), model_label(s)) for s in kinds_in_order]
    given = dict.fromkeys(name for of_run in values for name in of_run)
    # A section that some runs do not have is looked at setting by setting.
    names = [name for name in given if name not in NAMES and not any(n.startswith(f"{name}.") for n in given)]
    differing = [name for name in names if _differ(name, values, labels)]
    return {name: [values[k].get(name) for k in kind_of] for name in differing}


def kind(settings: Settings) -> tuple[Any, ...]:
    """The same for settings that share their sections and names, and differ at most in their seed; valid as long as the
    sections live."""
    return tuple(value if isinstance(value, str) else id(value) for value in map(vars(settings).get, _BUT_THE_SEED))


_BUT_THE_SEED = [name for name in Settings.model_fields if name != "seed"]


def _differ(name: str, values: Iterable[dict[str, Any]], labels: Iterable[tuple[str, str, str]]) -> bool:
    """Whether a setting has several values among runs of one dataset that its label does not distinguish."""
    found = defaultdict(set)
    for of_run, (dataset, regime, model) in zip(values, labels, strict=True):
        said = regime if name.startswith("curriculum.") else model if name == "network.architecture" else ""
        found[dataset, said].add(repr(of_run.get(name)))
    return any(len(several) > 1 for several in found.values())
