"""What the files of a run say, checked: `result.json`, and outcomes of measures in their two forms.

rows      one a level and metric: {metric, blur, sigma, n, value or count}
levels    as older versions wrote them, of accuracy alone: {sigma, top1, top5}
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from blurtrain.documents import shown
from blurtrain.errors import RunError, SettingsError
from blurtrain.files import read_json, read_sealed
from blurtrain.schema import validate

REFERENCE = 224  # sigma is in pixels at this resolution, in every table and figure
CONDITIONS = (
    "split",
    "resolution",
    "truncate",
    "light",
    "pixels",
    "protocol",
    "deblur",
    "drop_last",
    "epoch",
    "n",
    "classes",
    "largest_class",
)
"""Fields of an evaluation, and columns of every table: levels measured under the same conditions are merged, those
measured under others are other rows."""


class Document(BaseModel):
    """Base of what is read from a run's files. Fields that it does not know are left out; NaN and infinity are
    refused."""

    # Fields that training may add later are no reason to refuse a file.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Result(Document):
    """`result.json`."""

    run_id: str
    accuracy: str = Field("", pattern=r"^[^/]*$")  # a file in evaluations/, not a path out of it
    measured: str = Field("", pattern=r"^[^/]*$")
    """The same, of a run whose task is no classification."""

    @model_validator(mode="after")
    def _of_something(self) -> "Result":
        if not self.accuracy and not self.measured:
            raise ValueError("accuracy: is missing")
        return self


@dataclass(frozen=True)
class Level:
    """What was measured at one level of blur."""

    blur: str
    """Its label, with sigma in pixels at 224."""
    sigma: float
    """Pixels at 224; 0: sharp, NaN: no Gaussian."""
    counts: Mapping[str, int]
    values: Mapping[str, float]
    """Means over the images; NaN where some image has no finite value."""
    object_counts: Mapping[str, tuple[int, ...]]
    object_n: tuple[int, ...] | None
    """Images of each object; None: no object is known to be shown twice."""
    objects: float
    """How many objects; 0: no object is shown twice; NaN: not recorded yet."""


class Outcome(Document):
    """What both forms have in common."""

    measure: str = Field(pattern=r"^\S+$")
    options: Mapping[str, Any] = {}
    """Of the measure, where they are not its defaults."""
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
    protocol: str = "whole"
    """How images were shown: whole, at the network's own size, or by a protocol of scales and crops."""
    deblur: str = "none"
    """By what blurred images were restored before."""
    drop_last: bool = False
    objects: tuple[int, ...] | None = None
    """Images of each object; None: none is known to be shown twice, or, where it is missing, not recorded yet."""

    _levels: list[Level] | None = PrivateAttr(None)

    @property
    def called(self) -> str:
        """The measure as tables name it: `minimal-blur`, or `minimal-blur[largest=16]`."""
        options = ",".join(f"{name}={shown(value)}".replace(" ", "") for name, value in self.options.items())
        return f"{self.measure}[{options}]" if options else self.measure

    @model_validator(mode="after")
    def _possible_images(self) -> "Outcome":
        if self.largest_class > self.n:
            raise ValueError(f"largest_class is {self.largest_class} of only {self.n} images")
        if self.objects is not None and (sum(self.objects) != self.n or min(self.objects, default=0) < 1):
            raise ValueError(f"objects do not add up to n={self.n}")
        return self

    def conditions(self, epochs: int) -> dict[str, Any]:
        """CONDITIONS by name, of a run of so many epochs."""
        return {name: getattr(self, name) for name in CONDITIONS} | {"epoch": self.epoch or epochs}

    def levels_measured(self) -> list[Level]:
        """In the order of the file."""
        if self._levels is None:
            self._levels = self._measured()
        return self._levels

    def _measured(self) -> list[Level]:
        raise NotImplementedError

    def _level(
        self,
        blur: str,
        sigma: float | None,
        counts: dict[str, int],
        values: dict[str, float],
        by_object: dict[str, tuple[int, ...]],
    ) -> Level:
        """Checked; raises ValueError where counts contradict each other."""
        name, at = (blur, math.nan) if sigma is None else _gaussian(sigma, self.reference_resolution)
        where = blur if sigma is None else f"sigma {sigma:g}"
        if counts and (max(counts.values()) > self.n or counts.get("top1", 0) > counts.get("top5", self.n)):
            raise ValueError(f"at {where}, top1 <= top5 <= n does not hold")
        if self.objects and "top1" in counts and "top1" not in by_object:
            raise ValueError(f"at {where}, top1_by_object does not fit top1 and objects")
        for metric, right in by_object.items():
            if not self.objects or len(right) != len(self.objects) or sum(right) != counts.get(metric):
                raise ValueError(f"at {where}, {metric}_by_object does not fit {metric} and objects")
            if any(not 0 <= x <= m for x, m in zip(right, self.objects, strict=True)):
                raise ValueError(f"at {where}, 0 <= {metric}_by_object <= objects does not hold")
        known = "objects" in self.model_fields_set
        objects = float(len(self.objects or ())) if known else math.nan
        return Level(name, at, counts, values, by_object, self.objects, objects)


@functools.lru_cache(maxsize=4096)
def _gaussian(sigma: float, reference: int) -> tuple[str, float]:
    """The label of a Gaussian, and its sigma at REFERENCE."""
    # Six digits, as tables and figures show: 8 is the same level whatever it was scaled from.
    at = float(f"{sigma * REFERENCE / reference:.6g}")
    return f"gaussian-{at:g}" if at else "sharp", at


class _FormerLevel(Document):
    sigma: float = Field(ge=0)
    top1: int = Field(ge=0)
    top5: int
    top1_by_object: tuple[int, ...] | None = None


class LevelsForm(Outcome):
    """`evaluations/accuracy-<hash>.json` of older versions."""

    measure: Literal["accuracy"]
    levels: tuple[_FormerLevel, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> "LevelsForm":
        self.levels_measured()
        return self

    def _measured(self) -> list[Level]:
        return [
            self._level(
                "", x.sigma, {"top1": x.top1, "top5": x.top5}, {},
                {} if x.top1_by_object is None else {"top1": x.top1_by_object},
            )
            for x in self.levels
        ]  # fmt: skip


class _Row(Document):
    metric: str = Field(pattern=r"^\S+$")
    blur: str
    sigma: float | None = Field(None, ge=0)
    n: int
    count: int | None = Field(None, ge=0)
    value: float | None = None
    by_object: tuple[int, ...] | None = None


class RowsForm(Outcome):
    """`evaluations/<measure>-<hash>.json`."""

    rows: tuple[_Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> "RowsForm":
        if self.measure == "accuracy" and (other := [row for row in self.rows if row.n != self.n]):
            raise ValueError(f"{other[0].metric} at {other[0].blur} is of n={other[0].n} images, not n={self.n}")
        for part in self.by_n():
            part.levels_measured()
        return self

    def by_n(self) -> list["RowsForm"]:
        """The same, one for each n: some metrics may be of other things than all the images, such as filters."""
        ns = list(dict.fromkeys(row.n for row in self.rows))
        if ns == [self.n]:
            return [self]
        return [self._of_n(n) for n in ns]

    def level_names(self) -> dict[str, str]:
        """What tables call each level, by its label in the file."""
        found: dict[str, str] = {}
        for part in self.by_n():
            labels = dict.fromkeys(row.blur for row in part.rows)
            found |= zip(labels, (level.blur for level in part.levels_measured()), strict=True)
        return found

    def _of_n(self, n: int) -> "RowsForm":
        own = {"n": n, "rows": tuple(row for row in self.rows if row.n == n)}
        part = self.model_copy(update=own if n == self.n else {**own, "objects": None})
        part._levels = None
        return part

    def _measured(self) -> list[Level]:
        found: dict[str, tuple[float | None, dict[str, int], dict[str, float], dict[str, tuple[int, ...]]]] = {}
        for row in self.rows:
            if row.blur not in found:
                found[row.blur] = row.sigma, {}, {}, {}
            _, counts, values, by_object = found[row.blur]
            if row.count is None:
                values[row.metric] = math.nan if row.value is None else row.value
            else:
                counts[row.metric] = row.count
            if row.by_object is not None:
                by_object[row.metric] = row.by_object
        return [self._level(blur, *of_level) for blur, of_level in found.items()]


class Member(Document):
    """One network of an ensemble."""

    run: str = ""
    """Empty: it is no run."""
    epoch: int | None = None
    protocol: str = "whole"
    """How it was shown images."""


class EnsembleForm(RowsForm):
    """`accuracy-<hash>.json` of several networks that were measured as one."""

    members: tuple[Member, ...] = Field(min_length=2)


def read_outcome(document: Mapping[str, Any] | None, path: Path) -> Outcome:
    """The content of an evaluation's file, whichever form it has; raises RunError where it is damaged."""
    rows = isinstance(document, Mapping) and "rows" in document
    return checked(document, path, RowsForm if rows else LevelsForm)


def outcome_at(path: Path) -> Outcome:
    """The content of an evaluation's file, as `read_outcome`; raises RunError where it is damaged or missing."""
    try:
        return RowsForm.model_validate_json(read_sealed(path))  # without a detour over Python's objects
    except (OSError, ValidationError):
        return read_outcome(read_json(path), path)  # of the older form; or what is wrong, in words


_D = TypeVar("_D", bound=Document)


def checked(document: Mapping[str, Any] | None, path: Path, model: type[_D]) -> _D:
    """A document as `model`; raises RunError where it is missing (None) or does not fit: `path` says which file it
    was."""
    if document is None:
        raise RunError(f"{path}: is missing although the run is done; move the run out of the folder, or run it again")
    try:
        found: _D = validate(document, str(path), model)
    except SettingsError as error:
        raise RunError(f"{error}; the file is damaged: remove it and evaluate the run again") from None
    return found
