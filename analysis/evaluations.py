"""What was measured of one run: all its `evaluations/accuracy-*.json`, merged level by level."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from blurtrain.errors import RunError, SettingsError
from blurtrain.files import read_json
from blurtrain.run import Run
from blurtrain.schema import validate

REFERENCE = 224  # sigma is in pixels at this resolution, in every table and figure
CONDITIONS = (
    "split",
    "resolution",
    "truncate",
    "light",
    "pixels",
    "drop_last",
    "epoch",
    "n",
    "classes",
    "largest_class",
)
"""Fields of an evaluation, and columns of every table: levels measured under the same conditions are merged, those
measured under others are other rows."""


class _Document(BaseModel):
    # Fields that training may add later are no reason to refuse a file.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Result(_Document):
    """`result.json`."""

    run_id: str
    accuracy: str = Field(pattern=r"^[^/]+$")  # a file in evaluations/, not a path out of it


class _Level(_Document):
    sigma: float = Field(ge=0)
    top1: int = Field(ge=0)
    top5: int
    top1_by_object: tuple[int, ...] | None = None


class _Accuracy(_Document):
    """`evaluations/accuracy-<hash>.json`."""

    measure: Literal["accuracy"]
    split: str
    epoch: int | None = None
    """None: as many as the run has."""
    n: int = Field(gt=0)
    classes: int = Field(gt=0)
    largest_class: int = Field(gt=0)
    resolution: int = Field(gt=0)
    reference_resolution: int = Field(gt=0)
    truncate: float
    light: Literal["sRGB", "linear"] = "sRGB"
    pixels: Literal["source", "stored"] = "stored"
    drop_last: bool = False
    objects: tuple[int, ...] | None = None
    """Images of each object; None: none is known to be shown twice, or, where it is missing, nobody had looked yet."""
    levels: tuple[_Level, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> "_Accuracy":
        if self.largest_class > self.n:
            raise ValueError(f"largest_class is {self.largest_class} of only {self.n} images")
        if self.objects is not None and (sum(self.objects) != self.n or min(self.objects, default=0) < 1):
            raise ValueError(f"objects do not add up to n={self.n}")
        for level in self.levels:
            if not level.top1 <= level.top5 <= self.n:
                raise ValueError(f"at sigma {level.sigma:g}, top1 <= top5 <= n does not hold")
            right = level.top1_by_object
            if right is None and self.objects is None:
                continue
            if not right or not self.objects or len(right) != len(self.objects) or sum(right) != level.top1:
                raise ValueError(f"at sigma {level.sigma:g}, top1_by_object does not fit top1 and objects")
            if any(not 0 <= x <= m for x, m in zip(right, self.objects, strict=True)):
                raise ValueError(f"at sigma {level.sigma:g}, 0 <= top1_by_object <= objects does not hold")
        return self


@dataclass(frozen=True)
class Level:
    """The images right at one level: of all, and of each object."""

    top1: int
    top5: int
    object_top1: tuple[int, ...] | None
    object_n: tuple[int, ...] | None
    """Images of each object; None: no object is known to be shown twice."""
    objects: float
    """How many objects; 0: no object is shown twice; NaN: nobody had looked yet."""


Measured = dict[tuple[Any, ...], dict[float, Level]]
"""Levels by sigma (pixels at 224), by the conditions under which they were measured."""


def measured(run: Run, document: Mapping[str, Any], epochs: int) -> tuple[Measured, list[str]]:
    """All that was measured of a done run whose result is `document`; and what was found odd, in plain words.

    A level that was measured twice counts once: as the evaluation at the end of the training has it, or the first file
    by name. Raises RunError where a file is missing or damaged.
    """
    result: _Result = _checked(document, run.path / "result.json", _Result)
    if result.run_id != run.id:
        # A copy would pass for a repetition of the experiment.
        raise RunError(f"{run.path}: holds run {result.run_id!r}; give the folder its name back, or move it elsewhere")
    own = run.evaluations / result.accuracy
    others = [path for path in sorted(run.evaluations.glob("accuracy-*.json")) if path != own]
    found: Measured = {}
    odd = []
    for path in (own, *others):
        accuracy: _Accuracy = _checked(read_json(path), path, _Accuracy)
        conditions = accuracy.model_dump(include=set(CONDITIONS)) | {"epoch": accuracy.epoch or epochs}
        levels = found.setdefault(tuple(conditions[name] for name in CONDITIONS), {})
        for sigma, level in _levels(accuracy):
            before = levels.setdefault(sigma, level)
            if (before.top1, before.top5) != (level.top1, level.top5):
                odd.append(
                    f"{run.id}: measured twice at sigma {sigma:g}, with {before.top1} and (in {path.name}) "
                    f"{level.top1} of {accuracy.n} images right; the first is shown"
                )
            elif math.isnan(before.objects):
                levels[sigma] = level  # it may know of objects
    return found, odd


def _levels(accuracy: _Accuracy) -> list[tuple[float, Level]]:
    known = "objects" in accuracy.model_fields_set
    objects = float(len(accuracy.objects or ())) if known else math.nan
    # Six digits, as tables and figures show: 8 is the same level whatever it was scaled from.
    scale = REFERENCE / accuracy.reference_resolution
    return [
        (float(f"{x.sigma * scale:.6g}"), Level(x.top1, x.top5, x.top1_by_object, accuracy.objects, objects))
        for x in accuracy.levels
    ]


_D = TypeVar("_D", bound=_Document)


def _checked(document: Mapping[str, Any] | None, path: Path, model: type[_D]) -> _D:
    if document is None:
        raise RunError(f"{path}: is missing although the run is done; move the run out of the folder, or run it again")
    try:
        checked: _D = validate(document, str(path), model)
    except SettingsError as error:
        raise RunError(f"{error}; the file is damaged: remove it and evaluate the run again") from None
    return checked
