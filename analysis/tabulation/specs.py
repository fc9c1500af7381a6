"""Tables as files, `configs/tables/*.yaml`: which numbers stand in which rows and columns, and which published ones
beside them.

title:     what the table shows
value:     top1, top5, entropy, any metric of any measure (MEASURE.METRIC where two have it); lines may have others
where:     {protocol: all-256@384}                  what all its cells have in common
rows:      [{label: D4, match: {blur: disk-4@384}, published: {test_blur: defocus_r4}}, ...]
columns:   [{label: sharp + D8, match: {regime: sharp-d8}, published: ft_sharp+d8}, ...]
published: {table: vasiljevic_table3, network: VGG-16 on ImageNet, source: ...}

Rows, columns or both may be found among the runs, one for each value that there is, in its natural order; of several
names the first ones make groups:

rows:      {by: [regime, optimisation.learning_rate]}
columns:   {by: blur, metrics: [top1, top5, entropy]}

Every cell may be compared with another one, which has all that it has but for what `baseline` replaces; and the best
may be marked, with all that cannot be distinguished from it:

baseline:   {regime: clear}
show:       value, with the difference below it; or difference, or ratio, in its place
mark:       best in column, best in row, best in table; best: whichever of the first two compares networks
correction: holm, bh or none: of p values, over all comparisons of the table
metrics:    {margin: {better: higher, digits: 2}}   of metrics of one's own

A row or a column of runs that were measured as one (`blurtrain evaluate --ensemble`) says what each of these matches
beside `match`; `protocol` is then the one by which this run was shown images:

- {label: a network a scale, ensemble: [{protocol: all-256@384, ...}, {protocol: all-512@384, ...}]}

`where`, `match`, `by` and `baseline` name columns of `analysis.load` (dataset, regime, model, seed, run_id; blur,
sigma, protocol, split, epoch, ...), `search` or `trial`, or any setting of the runs by its dotted name. A list is any
of its values, but a setting that is itself a list has to be equal to it. `published` of a row says which rows of the
published table are meant, that of a column which of its columns. Beside lines that are found, published numbers are
found by what a cell is of:

published: {table: b2c_accuracy_vs_sigma, by: {sigma_px_at_224: sigma, ...}, numbers: {top1: top1_percent}, ...}
"""

import functools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Discriminator, Tag, field_validator, model_validator

from analysis.documents import CONDITIONS, REFERENCE
from analysis.literature import published
from analysis.tabulation.metric_facts import OwnFacts
from blurtrain.blur.blurs import Blur, Gaussian, Sharp
from blurtrain.documents import read_yaml
from blurtrain.errors import BlurtrainError, SettingsError, nearest
from blurtrain.schema import validate
from blurtrain.settings import PRESETS
from blurtrain.settings.labels import NAMES

OF_TRIALS = ("search", "trial")
"""What only runs of a search have."""
OF_A_RUN = (*NAMES, "run_id", "data_id", *OF_TRIALS)
"""What a run is selected by, beside its settings (by dotted names)."""
OF_A_LEVEL = ("blur", "sigma", *CONDITIONS)
"""What one of its measurements is selected by."""
Mark = Literal["", "best", "best in row", "best in column", "best in table"]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Strict):
    """A row or a column."""

    label: str
    match: dict[str, Any] = {}
    ensemble: tuple[dict[str, Any], ...] = ()
    value: str | None = None
    published: dict[str, str | int | float] | str | None = None
    none: str = ""
    """Why no run can be meant: a line of published numbers only."""


class Found(_Strict):
    """Rows or columns that are found among the runs: a line for each value of `by`, or of several names for each
    combination that there is, and in each a line for each metric."""

    by: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()

    @field_validator("by", "metrics", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _something(self) -> "Found":
        if not self.by and not self.metrics:
            raise ValueError("needs `by` or `metrics`, e.g. {by: regime}")
        if twice := [x for names in (self.by, self.metrics) for k, x in enumerate(names) if x in names[:k]]:
            raise ValueError(f"{twice[0]!r} stands there twice")
        return self


Lines = Annotated[
    Annotated[tuple[Line, ...], Tag("lines")] | Annotated[Found, Tag("found")],
    Discriminator(lambda given: "found" if isinstance(given, Mapping | Found) else "lines"),
]


class Published(_Strict):
    """Where the numbers beside ours are from."""

    table: str
    network: str
    source: str
    note: str = ""
    """What to bear in mind beside own results."""
    by: dict[str, str] = {}
    """Of columns of the published table, what of a cell they say: {sigma_px_at_224: sigma}."""
    numbers: dict[str, str] = {}
    """Of metrics, the column that holds them."""

    def beside(self, about: Mapping[str, Any], metric: str) -> float | None:
        """The published number of a cell that is `about` such values; None where there is none."""
        column = self.numbers.get(metric)
        if column is None or any(name not in about for name in self.by.values()):
            return None
        key = tuple(_word(about[name]) for name in self.by.values())
        return _numbers(self.table, tuple(self.by), column).get(key)


class TableSpec(_Strict):
    """What a file says."""

    name: str
    title: str
    about: str = ""
    value: str = "top1"
    where: dict[str, Any] = {}
    rows: Lines
    columns: Lines
    baseline: dict[str, Any] = {}
    show: Literal["value", "difference", "ratio"] = "value"
    mark: Mark = ""
    correction: Literal["holm", "bh", "none"] = "holm"
    metrics: dict[str, OwnFacts] = {}
    published: Published | None = None

    def value_of(self, row: Line, column: Line) -> str:
        """The metric of a cell: that of its column, else of its row, else of the table."""
        return column.value or row.value or self.value

    def match(self, row: Line, column: Line) -> dict[str, Any]:
        """What runs and levels of a cell must have, by name; what its column says counts before its row, and that
        before `where`."""
        return {**self.where, **row.match, **column.match}

    @property
    def axes(self) -> tuple[Lines, Lines]:
        """Rows, then columns."""
        return self.rows, self.columns

    @property
    def explicit(self) -> list[Line]:
        """The lines that the file itself names."""
        return [line for lines in self.axes if not isinstance(lines, Found) for line in lines]

    @property
    def names(self) -> set[str]:
        """What lines say, which may differ from cell to cell."""
        found = {name for lines in self.axes if isinstance(lines, Found) for name in lines.by}
        members = [member for line in self.explicit for member in line.ensemble]
        return found.union(*(line.match for line in self.explicit), *members)

    @property
    def values(self) -> list[str]:
        """The metrics that any cell may have."""
        several = [lines.metrics for lines in self.axes if isinstance(lines, Found)]
        named = [line.value for line in self.explicit if line.value]
        return list(dict.fromkeys([*(name for names in several for name in names), *named, self.value]))

    def published_value(self, row: Line, column: Line) -> float | None:
        """The published number of a cell; None where there is none. Raises SettingsError where rows or columns of the
        published table are named that it does not have."""
        if self.published is None or not isinstance(row.published, dict) or not isinstance(column.published, str):
            return None
        table = _texts(self.published.table)
        if unknown := [name for name in (*row.published, column.published) if name not in table.columns]:
            raise SettingsError(
                f"published table {self.published.table}: has no column {unknown[0]!r}; "
                + nearest(unknown[0], table.columns)
            )
        chosen = table
        for name, value in row.published.items():
            chosen = chosen[chosen[name] == str(value)]
        if len(chosen) != 1:
            raise SettingsError(f"published table {self.published.table}: {len(chosen)} rows are {row.published}")
        return float(chosen[column.published].tolist()[0])

    @model_validator(mode="after")
    def _selects(self) -> "TableSpec":
        for lines in self.axes:
            if not isinstance(lines, Found):
                _check_lines(lines)
        rows, columns = ([] if isinstance(lines, Found) else lines for lines in self.axes)
        for row in rows:
            if isinstance(row.published, str):
                raise ValueError(f"row {row.label!r}: published must say which row is meant, {{column: value}}")
        for column in columns:
            if isinstance(column.published, dict):
                raise ValueError(f"column {column.label!r}: published must be the name of a column")
        members = [member for line in self.explicit for member in line.ensemble]
        if any(row.ensemble for row in rows) and any(column.ensemble for column in columns):
            raise ValueError("ensembles are rows or columns, not both")
        for member in members:
            if level := [name for name in member if name in OF_A_LEVEL and name != "protocol"]:
                raise ValueError(f"{level[0]!r} is the same for all members of an ensemble: say it in `match`")
        by = [dict.fromkeys(lines.by) for lines in self.axes if isinstance(lines, Found)]
        for selected in (*members, self.where, self.baseline, *by, *(line.match for line in self.explicit)):
            for name in selected:
                if "." not in name and name not in (*OF_A_RUN, *OF_A_LEVEL):
                    raise ValueError(f"nothing is called {name!r}; {nearest(name, (*OF_A_RUN, *OF_A_LEVEL))}")
            for label in _as_list(selected.get("blur") or []):
                Blur.model_validate(label)
        if self.show != "value" and not self.baseline:
            raise ValueError(f"show: {self.show} needs a baseline, e.g. {{regime: clear}}")
        self._check_published([*rows], [*columns])
        return self

    def _check_published(self, rows: Sequence[Line], columns: Sequence[Line]) -> None:
        try:
            for row in rows:
                for column in columns:
                    self.published_value(row, column)
            if self.published is not None:
                known = _texts(self.published.table).columns
                for name in (*self.published.by, *self.published.numbers.values()):
                    if name not in known:
                        raise SettingsError(
                            f"published table {self.published.table}: has no column {name!r}; {nearest(name, known)}"
                        )
        except BlurtrainError as error:
            raise ValueError(str(error)) from None


def _check_lines(lines: Sequence[Line]) -> None:
    if not lines:
        raise ValueError("rows and columns need a line each, or {by: NAME}")
    labels = [line.label for line in lines]
    if twice := [x for k, x in enumerate(labels) if x in labels[:k]]:
        raise ValueError(f"{twice[0]!r} stands there twice")


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def canonical_blur(label: Any) -> str:
    """A blur as the tables of `analysis.load` call it; raises ValueError where there is none such."""
    blur = Blur.model_validate(label)
    # Gaussians are called by their sigma at 224, with six digits.
    return f"gaussian-{blur.sigma * REFERENCE / blur.at:.6g}" if isinstance(blur, Gaussian) else blur.label


def sigma_of(label: Any) -> float:
    """Pixels at 224; NaN where it is no Gaussian."""
    blur = Blur.model_validate(label)
    if isinstance(blur, Gaussian):
        return float(f"{blur.sigma * REFERENCE / blur.at:.6g}")
    return 0.0 if isinstance(blur, Sharp) else math.nan


@functools.cache
def _texts(table: str) -> pd.DataFrame:
    """A published table in words. Not to be changed."""
    return published(table).astype(str)


@functools.cache
def _numbers(table: str, keys: tuple[str, ...], column: str) -> dict[tuple[str, ...], float]:
    """The numbers of a published table by what they are of."""
    frame = published(table)
    of = [[_word(value) for value in frame[name].tolist()] for name in keys]
    return dict(zip(zip(*of, strict=True), frame[column].astype(float).tolist(), strict=True))


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def read_table_spec(path: Path) -> TableSpec:
    """Read such a file; raises SettingsError, one line, for anything unknown or mistyped."""
    spec: TableSpec = validate({"name": path.stem, **read_yaml(path)}, str(path), TableSpec)
    return spec


def table_specs(folder: Path | None = None) -> list[TableSpec]:
    """Those of a folder, by name; by default those that come with the project."""
    return [read_table_spec(path) for path in sorted((folder or PRESETS / "tables").glob("*.yaml"))]
