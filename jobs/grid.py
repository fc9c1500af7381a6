"""Grid files: a set of runs, declared by axes.

data:      {faces: {images: faces}, ...}             how `blurtrain data prepare --grid` makes its datasets
settings:  {data: {resolution: 64}}                  for every run
axes:      {dataset: [faces, ...], regime: [clear, blurry], seed: [0]}
resources: {gpus: 1, minutes: 600}                   what each asks of a cluster (jobs.cluster.Resources)
where:     [{match: {dataset: faces}, settings: {optimisation: {epochs: 60}}, resources: {nodes: 2}}]   for some of them
exclude:   [{dataset: faces, regime: blurry}]
extends:   paper.yaml                                another grid file beside this one, into which all this is merged:
                                                     its `where` rules come first, so that those here win; of several,
                                                     [paper.yaml, baselines.yaml], the runs of each so extended
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blurtrain.data.dataset import Dataset, datasets, open_dataset
from blurtrain.data.preparation import Recipe
from blurtrain.documents import merge, read_yaml
from blurtrain.errors import SettingsError, nearest
from blurtrain.parts import look_beside
from blurtrain.run import as_begun, existing
from blurtrain.schema import validate
from blurtrain.settings import Settings, compose, preset_file, run_ids
from jobs.cluster import DEFAULT, Resources


class Where(BaseModel):
    """Settings, resources or both for the runs whose axes match."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    match: dict[str, Any]
    settings: dict[str, Any] = {}
    resources: dict[str, Any] = {}

    @model_validator(mode="after")
    def _says_something(self) -> "Where":
        if not self.model_fields_set & {"settings", "resources"}:
            raise ValueError("gives neither settings nor resources")
        return self


class Grid(BaseModel):
    """What a grid file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: dict[str, Recipe] = {}
    settings: dict[str, Any] = {}
    resources: dict[str, Any] = {}
    axes: dict[str, list[Any]] = Field(min_length=1)
    where: list[Where] = []
    exclude: list[dict[str, Any]] = []


@dataclass(frozen=True)
class GridFile:
    """A grid file as read: one grid, or, where it extends several files, one for each of them."""

    grids: tuple[Grid, ...]
    data: Mapping[str, Recipe]
    """How to make the datasets of all."""


@dataclass(frozen=True)
class Member:
    """One run of a grid."""

    run_id: str
    settings: Settings
    resources: Resources = DEFAULT


def read_grid(path: Path) -> GridFile:
    """Read a grid file, or a grid that comes with the project by its name; raises SettingsError for anything unknown or
    mistyped. Users' own code is found beside it."""
    path = preset_file("grids", path)
    grids = tuple(_checked(validate(document, str(path), Grid), path) for document in _merged_with_bases(path))
    look_beside(path)
    data: dict[str, Recipe] = {}
    for grid in grids:
        for name, recipe in grid.data.items():
            if data.setdefault(name, recipe) != recipe:
                raise SettingsError(f"{path}: data.{name}: the files that it extends make it differently; rename one")
    return GridFile(grids, data)


def _checked(grid: Grid, path: Path) -> Grid:
    for axis, values in grid.axes.items():
        if not values:
            raise SettingsError(f"{path}: axes.{axis}: has no values")
    for pattern in [*(w.match for w in grid.where), *grid.exclude]:
        for axis, value in pattern.items():
            if axis not in grid.axes:
                raise SettingsError(f"{path}: {axis!r} is no axis of this grid; {nearest(axis, grid.axes)}")
            if value not in grid.axes[axis]:
                raise SettingsError(f"{path}: {axis}={value} matches no run; axes.{axis} is {grid.axes[axis]}")
    return grid


def _merged_with_bases(path: Path, above: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """The document merged into that which it extends, or into each of several."""
    document = read_yaml(path)
    bases = document.pop("extends", None)
    if bases is None:
        return [document]
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not bases or not all(isinstance(b, str) for b in bases) or path in above:
        raise SettingsError(f"{path}: extends: must name another grid file, or several, which do not extend this one")
    found = []
    for below in (b for base in bases for b in _merged_with_bases(path.parent / base, (*above, path))):
        first, then = below.get("where"), document.get("where")
        rules = {"where": first + then} if isinstance(first, list) and isinstance(then, list) else {}
        found.append(merge(below, document | rules))
    return found


def expand(file: GridFile, where: str, data: Path | None = None) -> list[Member]:
    """The runs of a grid, in the order of its axes (the last changes fastest), each once.

    `where` names the grid in errors; `data` replaces the settings' data.root. Raises SettingsError or DataError where a
    combination is no valid run or its dataset is not prepared: nothing is half expanded.
    """
    members: dict[str, Member] = {}
    opened: dict[tuple[str, str], Dataset] = {}
    for grid in file.grids:
        for member in _expand(grid, file.data, where, data, opened):
            members.setdefault(member.run_id, member)
    if not members:
        raise SettingsError(f"{where}: every run is excluded")
    return list(members.values())


def _expand(
    grid: Grid, recipes: Mapping[str, Recipe], where: str, data: Path | None, opened: dict[tuple[str, str], Dataset]
) -> Iterator[Member]:
    known: dict[Any, tuple[Settings, Resources, Callable[[int], str]]] = {}
    for values in itertools.product(*grid.axes.values()):
        point = dict(zip(grid.axes, values, strict=True))
        if any(_matches(point, pattern) for pattern in grid.exclude):
            continue
        rules = [rule for rule in grid.where if _matches(point, rule.match)]
        # Runs that differ in the seed alone are checked once: grids of thousands are planned in a second.
        seed = point.get("seed")
        plain = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32
        alike = (repr([v for axis, v in point.items() if axis != "seed" or not plain]), tuple(map(id, rules)))
        if alike not in known:
            settings, resources = _compose(grid, where, point, rules, data)
            key = (settings.data.root, settings.dataset)
            if key not in opened:
                _check_dataset(recipes, where, *key)
                opened[key] = open_dataset(Path(key[0]), key[1])
            known[alike] = settings, resources, run_ids(settings, opened[key].data_id)
        settings, resources, id_of = known[alike]
        if plain:
            settings = settings.model_copy(update={"seed": seed})
        yield Member(id_of(settings.seed), settings, resources)


def shortfalls(members: Sequence[Member]) -> list[str]:
    """Curricula that runs are too short for, a line for each kind and the number of its runs."""
    found = Counter(
        f"{m.settings.regime}: {missing}"
        for m in members
        if (missing := m.settings.curriculum.shortfall(m.settings.optimisation.epochs))
    )
    return [f"{line} ({runs} run{'s' * (runs != 1)})" for line, runs in found.items()]


def declared(path: Path, runs: Path, data: Path | None = None) -> list[Member]:
    """The runs that a grid file declares, each by the id under which it was begun in this folder of runs.

    Raises what `read_grid` and `expand` do.
    """
    names = existing(runs)
    members = expand(read_grid(path), str(path), data)
    return [Member(*as_begun(m.run_id, m.settings, names), m.resources) for m in members]


def _compose(
    grid: Grid, where: str, point: Mapping[str, Any], rules: Sequence[Where], data: Path | None
) -> tuple[Settings, Resources]:
    """The settings and resources of one point."""
    document, wanted = dict(grid.settings), dict(grid.resources)
    for rule in rules:
        document, wanted = merge(document, rule.settings), {**wanted, **rule.resources}
    for axis, value in point.items():
        document = merge(document, _nested(axis, value))
    if data is not None:
        document = merge(document, {"data": {"root": str(data)}})
    name = f"{where} ({', '.join(f'{k}={v}' for k, v in point.items())})"
    return compose(document, name), validate(wanted, f"{name}: resources", Resources)


def _matches(point: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(point[axis] == value for axis, value in pattern.items())


def _nested(axis: str, value: Any) -> dict[str, Any]:
    for part in reversed(axis.split(".")):
        value = {part: value}
    return value


def _check_dataset(recipes: Mapping[str, Recipe], where: str, root: str, name: str) -> None:
    prepared = [d.name for d in datasets(Path(root))]
    if name in prepared:
        return
    how = f"`blurtrain data prepare --grid {where} --data {root}`" if name in recipes else "`blurtrain data prepare`"
    raise SettingsError(f"{where}: dataset {name!r} is not prepared in {root}: {how} first; {nearest(name, prepared)}")
