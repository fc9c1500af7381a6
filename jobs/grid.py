"""Grid files: a set of runs, declared by axes.

data:      {faces: {images: faces}, ...}             how `blurtrain data prepare --grid` makes its datasets
settings:  {data: {resolution: 64}}                  for every run
axes:      {dataset: [faces, ...], regime: [clear, blurry], seed: [0]}
where:     [{match: {dataset: faces}, settings: {optimisation: {epochs: 60}}}]      for some of them
exclude:   [{dataset: faces, regime: blurry}]
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from blurtrain.data.catalog import Dataset, Recipe, datasets, open_dataset
from blurtrain.documents import merge, read_yaml
from blurtrain.errors import SettingsError, nearest
from blurtrain.schema import validate
from blurtrain.settings import Settings, compose, run_id


class Where(BaseModel):
    """Settings for the runs whose axes match."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    match: dict[str, Any]
    settings: dict[str, Any]


class Grid(BaseModel):
    """What a grid file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    data: dict[str, Recipe] = {}
    settings: dict[str, Any] = {}
    axes: dict[str, list[Any]] = Field(min_length=1)
    where: list[Where] = []
    exclude: list[dict[str, Any]] = []


@dataclass(frozen=True)
class Member:
    """One run of a grid."""

    run_id: str
    settings: Settings


def read_grid(path: Path) -> Grid:
    """Read a grid file; raises SettingsError for anything unknown or mistyped."""
    grid: Grid = validate(read_yaml(path), str(path), Grid)
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


def expand(grid: Grid, where: str, data: Path | None = None) -> list[Member]:
    """The runs of a grid, in the order of its axes (the last changes fastest), each once.

    `where` names the grid in errors; `data` replaces the settings' data.root. Raises SettingsError or DataError where a
    combination is no valid run or its dataset is not prepared: nothing is half expanded.
    """
    members: dict[str, Member] = {}
    opened: dict[tuple[str, str], Dataset] = {}
    for values in itertools.product(*grid.axes.values()):
        point = dict(zip(grid.axes, values, strict=True))
        if any(_matches(point, pattern) for pattern in grid.exclude):
            continue
        document: dict[str, Any] = dict(grid.settings)
        for rule in grid.where:
            if _matches(point, rule.match):
                document = merge(document, rule.settings)
        for axis, value in point.items():
            document = merge(document, _nested(axis, value))
        if data is not None:
            document = merge(document, {"data": {"root": str(data)}})
        settings = compose(document, f"{where} ({', '.join(f'{k}={v}' for k, v in point.items())})")
        key = (settings.data.root, settings.dataset)
        if key not in opened:
            _check_dataset(grid, where, *key)
            opened[key] = open_dataset(Path(key[0]), key[1])
        identity = run_id(settings, opened[key].data_id)
        members.setdefault(identity, Member(identity, settings))
    if not members:
        raise SettingsError(f"{where}: every run is excluded")
    return list(members.values())


def _matches(point: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    return all(point[axis] == value for axis, value in pattern.items())


def _nested(axis: str, value: Any) -> dict[str, Any]:
    for part in reversed(axis.split(".")):
        value = {part: value}
    return value


def _check_dataset(grid: Grid, where: str, root: str, name: str) -> None:
    prepared = [d.name for d in datasets(Path(root))]
    if name in prepared:
        return
    how = f"`blurtrain data prepare --grid {where} --data {root}`" if name in grid.data else "`blurtrain data prepare`"
    raise SettingsError(f"{where}: dataset {name!r} is not prepared in {root}: {how} first; {nearest(name, prepared)}")
