"""What tables select from: all runs of a folder, done or not, and all that was measured of them, by any name.

A name is looked at once for each of its values (`Codes`), never run by run, so that a table over ten thousand runs
takes less than a second.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import ValidationError

from analysis.collecting.ensembles import Ensemble
from analysis.documents import CONDITIONS
from analysis.tabulation.codes import Bools, Codes, Ints, combined, is_wanted
from analysis.tabulation.metric_facts import KNOWN, OwnFacts, facts
from analysis.tabulation.specs import OF_A_LEVEL, OF_A_RUN, OF_TRIALS, canonical_blur
from blurtrain.documents import KIND_KEYS
from blurtrain.errors import SettingsError, nearest
from blurtrain.settings.labels import NAMES

SERIES = ("blur", *CONDITIONS)
"""What measurements have to agree in to be averaged, beside the settings of their runs."""


@dataclass(frozen=True)
class ImageValues:
    """What records say of the same images under several seeds."""

    values: NDArray[np.float64]
    """[seeds, images]: finite."""
    index: NDArray[np.int64]
    """[images]: which they are, of their dataset."""
    objects: NDArray[np.int64] | None
    """[images]: the object that each shows; None: records do not say, or no object is shown by several."""


Images = Callable[[Sequence[str], Mapping[str, Any]], ImageValues | None]


def no_images(runs: Sequence[str], about: Mapping[str, Any]) -> None:
    """Where nothing is known of single images."""


class SettingsOfKinds(Protocol):
    """All settings but the seed by dotted name, once for all runs that have the same."""

    @property
    def names(self) -> frozenset[str]:
        """Of all settings that any run has."""

    @property
    def identifying(self) -> frozenset[str]:
        """Those that change what is trained."""

    def __len__(self) -> int: ...

    def __getitem__(self, kind: int) -> Mapping[str, Any]: ...

    def values(self, name: str) -> list[Any]:
        """Of one setting, or section, by kind."""


@dataclass(frozen=True)
class Selection:
    """All runs, and their measurements."""

    runs: pd.DataFrame
    """By place: run_id, dataset, regime, model, seed, state (done, running, failed, pruned, waiting), message, epoch,
    epochs, data_id, settings_id (the same where only seeds differ, and the data is the same), kind (the place of its
    settings in `settings`)."""
    settings: SettingsOfKinds
    measured: Any
    """Arrow, long, by run: measure, metric, value, count (null: it is none), blur, sigma, the conditions, by_object
    (the count of each object, or null) and object_n (all images of each as JSON, or an empty text)."""
    run: Ints
    """The place of its run, by measurement."""
    ensembles: Sequence[Ensemble] = ()
    images: Images = no_images
    """What records say of each image, by the ids of runs and what a measurement is of; None: not all have them."""
    all_metrics: Callable[[], Iterable[str]] = tuple
    """Those that any run has, also of which nothing is here."""
    trials: Callable[[], Mapping[str, tuple[str, str]]] = dict
    """For the id of each run of a search, which, and which of its trials, with what that sets."""
    said_of: Callable[[str, str], Mapping[str, Any]] = lambda run, measure: {}
    """What the file of a measure says of its metrics, by name, for a run."""
    _known: dict[str, Codes] = field(default_factory=dict)
    _known_of_measured: dict[str, Codes] = field(default_factory=dict)
    _columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    _trained: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    def of_runs(self, name: str) -> Codes:
        """A name of a run, or a setting, by run."""
        if name not in self._known:
            if name in OF_TRIALS:
                trials = self.trials()
                place = OF_TRIALS.index(name)
                runs = self.column("run_id", of_runs=True)
                self._known[name] = Codes.of([trials[run][place] if run in trials else None for run in runs])
            elif name in OF_A_RUN or "." not in name:
                self._known[name] = Codes.of(self.runs[name])
            else:
                kinds = Codes.of(self.settings.values(name))
                self._known[name] = kinds.take(self.runs["kind"].to_numpy(np.int64))
        return self._known[name]

    def of_measured(self, name: str) -> Codes:
        """Any name, by measurement."""
        if name not in self._known_of_measured:
            level = name in OF_A_LEVEL or name in ("measure", "metric")
            self._known_of_measured[name] = (
                Codes.of(self.measured[name]) if level else self.of_runs(name).take(self.run)
            )
        return self._known_of_measured[name]

    def place_of(self, run_id: str) -> int | None:
        """Of a run; None: there is none of this name."""
        return self._places.get(run_id)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {str(run_id): k for k, run_id in enumerate(self.runs["run_id"])}

    @cached_property
    def seeds(self) -> Ints:
        """By run."""
        return self.runs["seed"].to_numpy(np.int64)

    def column(self, name: str, of_runs: bool = False) -> NDArray[Any]:
        """One column: a value a measurement, or a run."""
        key = f"{of_runs} {name}"
        if key not in self._columns:
            own = self.runs[name].to_numpy() if of_runs else self.measured[name].to_numpy()
            self._columns[key] = own
        return self._columns[key]

    @cached_property
    def final(self) -> Bools:
        """Whether it was measured by the weights after the last epoch, by measurement."""
        return np.asarray(self.column("epoch") == self.column("epochs", of_runs=True)[self.run])

    def by_object(self, places: Ints) -> list[list[int] | None]:
        """The count of each object, by measurement; None where it is not known."""
        sizes = self._object_n
        if all(not sizes.value(int(place)) for place in places):
            return [None] * len(places)
        found: list[list[int] | None] = self._by_object.take(places).to_pylist()
        return found

    def object_n(self, places: Ints) -> list[list[int] | None]:
        """The images of each object, by measurement; None where none is known to be shown twice."""
        texts = [self._object_n.value(int(place)) for place in places]
        return [json.loads(text) if text else None for text in texts]

    @cached_property
    def _object_n(self) -> Codes:
        return Codes.of(self.measured["object_n"])

    @cached_property
    def _by_object(self) -> Any:
        return self.measured["by_object"].combine_chunks()

    @cached_property
    def done(self) -> Bools:
        """By run."""
        return np.asarray(self.runs["state"].to_numpy() == "done")

    @cached_property
    def awaited(self) -> Ints:
        """Places of the runs that are neither done nor pruned."""
        return np.flatnonzero(~self.runs["state"].isin(["done", "pruned"]).to_numpy())

    @cached_property
    def metrics(self) -> Ints:
        """By measurement, the number of its measure and metric."""
        return (
            self.of_measured("measure").codes * len(self.of_measured("metric").values)
            + self.of_measured("metric").codes
        )

    @cached_property
    def counted(self) -> frozenset[int]:
        """The metrics that are counts of images, by their numbers."""
        return frozenset(np.unique(self.metrics[~np.isnan(self.column("count"))]).tolist())

    @cached_property
    def _measured_metrics(self) -> dict[tuple[str, str], int]:
        measures, metrics = self.of_measured("measure").values, self.of_measured("metric").values
        return {(measures[k // len(metrics)], metrics[k % len(metrics)]): int(k) for k in np.unique(self.metrics)}

    def own_facts(self, number: int) -> OwnFacts | None:
        """What a measure of a user's own says of a metric: as the first of the runs has it that were measured so."""
        measure, metric = next(key for key, k in self._measured_metrics.items() if k == number)
        if metric in KNOWN:
            return None
        place = int(np.argmax(self.metrics == number))
        said = self.said_of(str(self.column("run_id", of_runs=True)[self.run[place]]), measure)
        family, _, member = metric.partition(".")  # hamming.stage1 is one of hamming
        try:
            if metric in said:
                return OwnFacts.model_validate(said[metric])
            if not member or family not in said:
                return None
            own = OwnFacts.model_validate(said[family])
            return own.model_copy(update={"label": f"{own.label or family}, {member}"})
        except ValidationError:  # written by hand: what cannot be used is not
            return None

    def heading(self, value: str) -> str:
        """Of a column of METRIC or MEASURE.METRIC: as what measured it calls it, with its unit."""
        if value in KNOWN:
            return KNOWN[value].heading
        of = self._meant(value)
        if len(of) != 1:
            return value
        ((_, metric), number), *_ = of.items()
        own = self.own_facts(number)
        return facts(metric, number in self.counted, own).heading if own and own.label else value

    def knows(self, known: Collection[str], name: str) -> bool:
        """Whether METRIC or MEASURE.METRIC is `known`, or is one that was measured of any run, and no two."""
        return name in known or len(self._meant(name)) == 1

    def _meant(self, name: str) -> dict[tuple[str, str], int]:
        """The measures and metrics that METRIC or MEASURE.METRIC may mean, and their numbers: of several that of
        accuracy, or else that of the one measure that was taken without options."""
        of = {key: k for key, k in self._measured_metrics.items() if name in (key[1], f"{key[0]}.{key[1]}")}
        if ("accuracy", name) in of:
            return {("accuracy", name): of["accuracy", name]}
        plain = {key: k for key, k in of.items() if "[" not in key[0]}
        return plain if len(plain) == 1 else of

    def metric(self, name: str, where: str, known: Iterable[str]) -> tuple[int, str]:
        """The number of METRIC or MEASURE.METRIC, -1 where it was measured nowhere, and what the metric is called.

        Raises SettingsError where it is not among the `known` either, and where several measures have it.
        """
        of = self._meant(name)
        if len(of) == 1:
            (((_, metric), number),) = of.items()
            return number, metric
        if of:
            full = [f"{measure}.{metric}" for measure, metric in of]
            raise SettingsError(f"table {where}: several measures have a metric {name!r}: {', '.join(full)}; say which")
        if name not in known:
            names = {*known, *self.all_metrics()}
            raise SettingsError(f"table {where}: no run has a metric {name!r}; {nearest(name, names)}")
        return -1, name

    @cached_property
    def series(self) -> Ints:
        """By measurement, a number that those have in common which may be averaged: all but the seed is the same."""
        return combined([self.of_runs("settings_id").take(self.run), *(self.of_measured(name) for name in SERIES)])

    def fits_runs(self, match: Mapping[str, Any]) -> Bools:
        """Which runs are what `match` says of runs."""
        fits = np.ones(len(self.runs), dtype=bool)
        for name, wanted in match.items():
            if name not in OF_A_LEVEL:
                fits &= self.of_runs(name).fits(wanted)
        return fits

    def fits(self, match: Mapping[str, Any], places: Ints) -> Bools:
        """Which of the measurements at these places are what `match` says."""
        fits = np.ones(len(places), dtype=bool)
        for name, wanted in match.items():
            fits &= self.of_measured(name).fits(self.canonical(name, wanted), places)
        return fits

    def is_wanted(self, name: str, given: Any, wanted: Any) -> bool:
        """Whether the value that a measurement has under this name is `wanted`."""
        return is_wanted(given, self.canonical(name, wanted))

    def canonical(self, name: str, wanted: Any) -> Any:
        """A blur as the measurements call it."""
        if name != "blur":
            return wanted
        if isinstance(wanted, list):
            return [self.canonical(name, one) for one in wanted]
        return wanted if wanted in self._blurs else canonical_blur(wanted)

    @cached_property
    def _blurs(self) -> frozenset[str]:
        return frozenset(self.of_measured("blur").values)

    def differing(self, runs: Ints) -> list[str]:
        """The settings in which these runs differ beyond labels and seeds; `data_id` where it is the data."""
        kinds = self.runs["kind"].to_numpy(np.int64)[runs]
        if len(found := np.unique(kinds)) == 1:
            return ["data_id"] if len(np.unique(self.of_runs("data_id").codes[runs])) > 1 else []
        flats = [self.settings[kind] for kind in found]
        labels = {name: len(np.unique(self.of_runs(name).codes[runs])) > 1 for name in ("regime", "model")}
        said = [part for label, part in (("regime", "curriculum."), ("model", "network.architecture")) if labels[label]]
        names = dict.fromkeys(name for flat in flats for name in flat if name in self.settings.identifying)
        differ = [name for name in names if not name.startswith(tuple(said)) and _several(flats, name)]
        if len(np.unique(self.of_runs("data_id").codes[runs])) > 1:
            differ.append("data_id")
        return [name for name, several in labels.items() if several] + differ

    def trained(self, kind: int) -> Mapping[str, Any]:
        """The settings that change what is trained, but for names and seed."""
        if kind not in self._trained:
            own = self.settings.identifying.difference(NAMES)
            self._trained[kind] = {name: value for name, value in self.settings[kind].items() if name in own}
        return self._trained[kind]

    def alike(self, run: int, other: int) -> bool:
        """Whether two runs differ in nothing that changes what is trained, but their seed; the data aside."""
        one, two = (int(self.column("kind", of_runs=True)[place]) for place in (run, other))
        return one == two or self.trained(one) == self.trained(two)

    def check(self, names: Iterable[str], where: str) -> None:
        """Raises SettingsError where one of these is no setting of any run."""
        for name in names:
            if "." in name and len(self.settings):
                self._check(name, where)

    def _check(self, name: str, where: str) -> None:
        known, parts = self.settings.names, name.split(".")
        for k in range(1, len(parts) + 1):
            path, section = ".".join(parts[:k]), "".join(f"{part}." for part in parts[: k - 1])
            beside = {n.removeprefix(section).split(".")[0] for n in known if n.startswith(section)}
            if path in known or parts[k - 1] in beside:
                continue
            if (
                beside & KIND_KEYS or section.removesuffix(".") in known
            ):  # another kind has it, or this one is not given
                return
            raise SettingsError(f"table {where}: no setting {name!r}; {nearest(parts[k - 1], beside)}")


def _several(flats: Sequence[Mapping[str, Any]], name: str) -> bool:
    return len({repr(flat.get(name)) for flat in flats}) > 1
