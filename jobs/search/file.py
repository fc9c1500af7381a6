"""Search files: a base run, the space around it, what is to become better, and how it is searched.

base: {dataset: faces, regime: clear, optimisation: {epochs: 10}}     as a settings file says it
space: {optimisation.learning_rate: {log_uniform: [1e-4, 1e-2]}}     see jobs.search.space
objective: {metric: top1, blurs: [sharp, gaussian-4]}                on the val split, see blurtrain.objective
seeds: [0, 1]                       a trial is one run a seed; they are trained side by side, and pruned as one
searcher: {name: tpe, seed: 0}      or random, grid, pbt
scheduler: {name: asha}             or none; of the searcher pbt: how often its runs are compared
trials: 16                          raised later, only the new ones run
resources: {gpus: 1}                of one run, as in a grid
allocation: {nodes: 2, gpus: 8}     of the whole search, on SLURM
minutes: 600                        no trial begins later than this; the search can be continued
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from blurtrain.data.dataset import datasets, open_dataset
from blurtrain.documents import merge, read_yaml
from blurtrain.errors import DataError, SettingsError, nearest
from blurtrain.objective import Objective
from blurtrain.parts import look_beside
from blurtrain.schema import NAME, Section, validate
from blurtrain.settings import Settings, compose, preset_file, run_ids
from blurtrain.settings.identity import identifying
from blurtrain.settings.start import unlike
from jobs.cluster import DEFAULT, Resources
from jobs.grid import Member
from jobs.search import space as spaces
from jobs.search.space import Dimension, Flat

PRESET_NAMES = ("regime", "model")
"""Settings of a space that stand for a whole preset."""


class Searcher(Section):
    """Who says which point is tried next."""

    name: Literal["tpe", "random", "grid", "pbt"] = "tpe"
    """tpe: Optuna's, through Ray Tune. pbt: population based training (Jaderberg et al. 2017): the trials are the
    population, the worse take over the checkpoints of the better and change their settings."""
    seed: int = Field(0, ge=0, lt=2**32)


class Scheduler(Section):
    """Who stops trials early."""

    name: Literal["asha", "none"] = "asha"
    """asha: asynchronous successive halving (Li et al. 2020), Ray Tune's."""
    grace_epochs: int = Field(1, ge=1)
    """No trial is stopped earlier."""
    reduction_factor: float = Field(3, gt=1)
    """At each rung one of so many goes on."""


class Population(Section):
    """Of population based training."""

    every_epochs: int = Field(5, ge=1)
    """So often the trials are compared."""
    quantile: float = Field(0.25, gt=0, le=0.5)
    """The share at the bottom that takes over from the share at the top."""
    resample: float = Field(0.25, ge=0, le=1)
    """Probability of a new draw instead of a step to a neighbouring value."""


class Search(Section):
    """What a search file says."""

    base: dict[str, Any]
    space: dict[str, Dimension] = Field(min_length=1)
    objective: Objective = Objective()
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    searcher: Searcher = Searcher()
    scheduler: Scheduler = Scheduler()
    population: Population = Population()
    trials: int = Field(16, ge=1)
    resources: Resources = DEFAULT
    allocation: Resources = Resources(gpus=8)
    minutes: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _fits_together(self) -> "Search":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds: {list(self.seeds)} names one twice")
        if "seed" in self.base or "seed" in self.space:
            raise ValueError("seed: say seeds, outside base and space")
        if "dataset" in self.space:
            raise ValueError("space.dataset: trials on different data cannot be compared; write a search for each")
        if self.resources.nodes != 1:
            raise ValueError("resources.nodes: a run of a search stays on one node; say allocation.nodes")
        if self.searcher.name == "pbt":
            if self.trials < 2:
                raise ValueError(f"trials={self.trials}: a population has 2 members at least")
            every, looks = self.population.every_epochs, self.objective.every_epochs
            if self.objective.of == "validation" and every % looks:
                raise ValueError(
                    f"population.every_epochs={every}: must be a multiple of objective.every_epochs={looks}, so that "
                    "members can be compared then"
                )
        if not self.objective.each_epoch and (self.searcher.name == "pbt" or self.scheduler.name != "none"):
            raise ValueError(
                f"objective.of={self.objective.of}: is known at the end of a run, so no trial can be stopped early by "
                "it: say scheduler: {name: none}, and no searcher pbt"
            )
        return self


@dataclass(frozen=True)
class SearchFile:
    """A search, with its name and its checked base run."""

    name: str
    search: Search
    written: Mapping[str, Any]
    """The base run as it was given, from which presets named by the space are laid anew."""
    base: Settings
    data_id: str
    where: str = "search"

    def __reduce__(self) -> tuple[Any, ...]:
        """As documents: classes of the user's own are found by their names in another process, and not by Python's."""
        documents = self.search.model_dump(mode="json"), self.written, self.document
        return _restored, (self.name, *documents, self.data_id, self.where)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The base run, whole."""
        return self.base.model_dump(mode="json")

    def _placed(self, flat: Flat) -> tuple[dict[str, Any], Flat]:
        """The settings of a point, whole but not checked, and what is active of it."""
        document, names = self.document, {name: flat[name] for name in PRESET_NAMES if name in flat}
        if names:
            document = compose(merge(self.written, names), self.where).model_dump(mode="json")
        return spaces.placed(document, self.search.space, flat)

    @cached_property
    def id(self) -> str:
        """Name, and a hash over what makes other trials: another base, space, objective, seeds, searcher, scheduler."""
        s = self.search
        kept = s.model_dump(mode="json", exclude={"base", "trials", "resources", "allocation", "minutes"})
        if s.searcher.name == "pbt":
            kept["trials"] = s.trials  # who is compared with whom
        canonical = json.dumps([run_ids(self.base, self.data_id)(0), kept], sort_keys=True)
        return f"{self.name}-{hashlib.sha256(canonical.encode()).hexdigest()[:8]}"

    def members(self, flat: Flat | None) -> tuple[Member, ...]:
        """The runs of a point, one a seed; None: of the base settings. Raises SettingsError where they are no valid
        settings."""
        document, active = (self.document, dict[str, Any]()) if flat is None else self._placed(flat)
        shown = ", ".join(f"{path}={value}" for path, value in active.items())
        settings: Settings = validate(document, f"{self.where} ({shown})" if shown else self.where, Settings)
        id_of = run_ids(settings, self.data_id)
        seeds, wanted = self.search.seeds, self.search.resources
        return tuple(Member(id_of(s), settings.model_copy(update={"seed": s}), wanted) for s in seeds)

    def active(self, flat: Flat | None) -> Flat:
        """What a point says, by path; of the base settings, what they have there."""
        if flat is not None:
            return self._placed(flat)[1]
        found = {path: spaces.look_up(self.document, path, None) for path in self.search.space}
        given = {path: value for path, value in found.items() if value is not None}
        return spaces.placed(self.document, self.search.space, given)[1]

    @property
    def record(self) -> dict[str, Any]:
        """What is noted of it where it is searched."""
        return {"name": self.name, **self.search.model_dump(mode="json"), "base": dict(self.written)}

    @cached_property
    def grid(self) -> list[Flat]:
        """The points of the grid searcher, those that differ in nothing active once, without the base settings. Raises
        SettingsError where one cannot be counted."""
        try:
            points = list(spaces.grid(self.search.space))
        except SettingsError as error:
            raise SettingsError(f"{self.where}: {error}") from None
        found: dict[str, Flat] = {}
        for flat in points:
            found.setdefault(self.members(flat)[0].run_id, flat)
        found.pop(self.members(None)[0].run_id, None)
        return list(found.values())

    @cached_property
    def is_max(self) -> bool:
        """Whether more of the objective is better."""
        return self.search.objective.is_max(self.base)


def _restored(
    name: str, search: dict[str, Any], written: dict[str, Any], base: dict[str, Any], data_id: str, where: str
) -> SearchFile:
    return SearchFile(name, validate(search, where, Search), written, validate(base, where, Settings), data_id, where)


def read_search(path: Path, overrides: Mapping[str, Any] | None = None, data: Path | None = None) -> SearchFile:
    """Read a search file, or a search that comes with the project by its name, with overrides merged into it; `data`
    replaces the settings' data.root.

    Raises SettingsError or DataError, in one line, for whatever could not be searched: nothing is started before.
    """
    path = preset_file("searches", path)
    look_beside(path)
    document = merge(read_yaml(path), overrides or {})
    return checked(document, path.stem, str(path), data)


def checked(document: Mapping[str, Any], name: str, where: str, data: Path | None = None) -> SearchFile:
    """The search that a document says; raises SettingsError or DataError for whatever could not be searched."""
    search: Search = validate(document, where, Search)
    if not re.fullmatch(NAME, name):
        raise SettingsError(f"{where}: the name of the file names the search: letters, digits, . _ and - only")
    root = {"data": {"root": str(data)}} if data is not None else {}
    whole = merge(merge(dict(search.base), search.objective.section()), root)
    base = compose(whole, f"{where}: base")
    prepared = [d.name for d in datasets(Path(base.data.root))]
    if base.dataset not in prepared:
        raise SettingsError(
            f"{where}: dataset {base.dataset!r} is not prepared in {base.data.root}: `blurtrain data prepare` first; "
            + nearest(base.dataset, prepared)
        )
    dataset = open_dataset(Path(base.data.root), base.dataset)
    search.objective.check(base, where)
    if search.objective.of != "training":
        try:
            dataset.split("val")
        except DataError as error:
            raise SettingsError(f"{where}: objective: looks at the val split: {error}") from None
    file = SearchFile(name, search, whole, base, dataset.data_id, where)
    _check_space(file)
    return file


def _check_space(file: SearchFile) -> None:
    """Raise SettingsError for a dimension that is no setting, has a value that is not valid, or is never active."""
    space, first = file.search.space, spaces.draw(file.search.space, 0, 0)
    points = [spaces.draw(space, 0, number) for number in range(64)]
    points += [{**first, path: value} for path, dimension in space.items() for value in dimension.some()]
    active: dict[str, Settings] = {}
    for flat in points:
        reached = file.active(flat)
        for path in reached:
            if not space[path].when and path not in active:
                _check_path(file, path)
        settings = file.members(flat)[0].settings
        active |= dict.fromkeys(reached, settings)
    for path in space:
        if path not in active:
            raise SettingsError(
                f"{file.where}: space.{path}: its `when` is never met by the base and the dimensions before it"
            )
        names = identifying(active[path])
        if not any(_within(path, name) or _within(name, path) for name in names):
            raise SettingsError(
                f"{file.where}: space.{path}: does not change what is trained, so nothing can be searched"
            )
    if file.search.searcher.name == "grid":
        file.grid  # noqa: B018  (what cannot be counted is refused here)
    if file.search.searcher.name == "pbt":
        _check_population(file, [file.members(flat)[0].settings for flat in points])


def _check_population(file: SearchFile, tried: Sequence[Settings]) -> None:
    """Raise SettingsError where no member could go on from another's checkpoint."""
    every, epochs = file.search.population.every_epochs, file.base.optimisation.epochs
    if every >= epochs:
        raise SettingsError(
            f"{file.where}: population.every_epochs={every}: must be less than optimisation.epochs={epochs}, or "
            "members are never compared"
        )
    for settings in tried:
        fixed = list(unlike(file.base, settings))
        if settings.optimisation.epochs != epochs:
            fixed.append("optimisation.epochs")
        for name in fixed:
            path = next((p for p in file.search.space if _within(p, name) or _within(name, p)), name)
            raise SettingsError(
                f"{file.where}: space.{path}: cannot be changed in the middle of a training, as searcher pbt does: the "
                "state of one member would mean nothing to another; take another searcher, or leave it out"
            )


def _check_path(file: SearchFile, path: str) -> None:
    try:
        spaces.look_up(file.document, path)
    except SettingsError as error:
        raise SettingsError(f"{file.where}: space.{error}") from None


def _within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith(outer + ".")
