"""Tables as files, `configs/tables/*.yaml`: which numbers stand in which rows and columns, and which published ones
beside them.

title:     what the table shows
value:     top1, top5 (percent), entropy or cross_entropy (nats); a row or a column may have another
where:     {protocol: all-256@384}                  what all its cells have in common
rows:      [{label: D4, match: {blur: disk-4@384}, published: {test_blur: defocus_r4}}, ...]
columns:   [{label: sharp + D8, match: {regime: sharp-d8}, published: ft_sharp+d8}, ...]
published: {table: vasiljevic_table3, network: VGG-16 on ImageNet, source: ...}

A row or a column of runs that were measured as one (`blurtrain evaluate --ensemble`) says what each of these matches
beside `match`; `protocol` is then the one by which this run was shown images:

- {label: a network a scale, ensemble: [{protocol: all-256@384, ...}, {protocol: all-512@384, ...}]}

`where` and `match` name columns of `analysis.load` (dataset, regime, model, seed; blur, protocol, split, ...) or any
setting of the runs by its dotted name. A list is any of its values, but a setting has to be equal to it. `published` of
a row says which rows of the published table are meant, that of a column which of its columns.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from analysis.documents import CONDITIONS
from analysis.literature import published
from blurtrain.blur.blurs import Blur
from blurtrain.documents import read_yaml
from blurtrain.errors import BlurtrainError, SettingsError, nearest
from blurtrain.schema import validate
from blurtrain.settings import PRESETS
from blurtrain.settings.labels import NAMES

Value = Literal["top1", "top5", "entropy", "cross_entropy"]
OF_A_RUN = NAMES
"""What a run is selected by, beside its settings (by dotted names)."""
OF_A_LEVEL = ("blur", *CONDITIONS)
"""What one of its measurements is selected by."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Line(_Strict):
    """A row or a column."""

    label: str
    match: dict[str, Any] = {}
    ensemble: tuple[dict[str, Any], ...] = ()
    value: Value | None = None
    published: dict[str, str | int | float] | str | None = None
    none: str = ""
    """Why no run can be meant: a line of published numbers only."""


class Published(_Strict):
    """Where the numbers beside ours are from."""

    table: str
    network: str
    source: str
    note: str = ""
    """What to bear in mind beside own results."""


class TableSpec(_Strict):
    """What a file says."""

    name: str
    title: str
    about: str = ""
    value: Value = "top1"
    where: dict[str, Any] = {}
    rows: tuple[Line, ...] = Field(min_length=1)
    columns: tuple[Line, ...] = Field(min_length=1)
    published: Published | None = None

    def value_of(self, row: Line, column: Line) -> Value:
        return column.value or row.value or self.value

    def match(self, row: Line, column: Line) -> dict[str, Any]:
        return {**self.where, **row.match, **column.match}

    def published_value(self, row: Line, column: Line) -> float | None:
        """The published number of a cell; None where there is none. Raises SettingsError where rows or columns of the
        published table are named that it does not have."""
        if self.published is None or not isinstance(row.published, dict) or not isinstance(column.published, str):
            return None
        table = published(self.published.table).astype(str)
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
        labels = [[line.label for line in lines] for lines in (self.rows, self.columns)]
        if twice := [x for names in labels for k, x in enumerate(names) if x in names[:k]]:
            raise ValueError(f"{twice[0]!r} stands there twice")
        for row in self.rows:
            if isinstance(row.published, str):
                raise ValueError(f"row {row.label!r}: published must say which row is meant, {{column: value}}")
        for column in self.columns:
            if isinstance(column.published, dict):
                raise ValueError(f"column {column.label!r}: published must be the name of a column")
        lines = (*self.rows, *self.columns)
        members = [member for line in lines for member in line.ensemble]
        if any(row.ensemble for row in self.rows) and any(column.ensemble for column in self.columns):
            raise ValueError("ensembles are rows or columns, not both")
        for member in members:
            if level := [name for name in member if name in OF_A_LEVEL and name != "protocol"]:
                raise ValueError(f"{level[0]!r} is the same for all members of an ensemble: say it in `match`")
        for selected in (*members, self.where, *(line.match for line in lines)):
            for name in selected:
                if "." not in name and name not in (*OF_A_RUN, *OF_A_LEVEL):
                    raise ValueError(f"nothing is called {name!r}; {nearest(name, (*OF_A_RUN, *OF_A_LEVEL))}")
            labels_of = selected.get("blur", [])
            for label in labels_of if isinstance(labels_of, list) else [labels_of]:
                Blur.model_validate(label)
        for row in self.rows:
            for column in self.columns:
                try:
                    self.published_value(row, column)
                except BlurtrainError as error:
                    raise ValueError(str(error)) from None
        return self


def read_table_spec(path: Path) -> TableSpec:
    """Read such a file; raises SettingsError, one line, for anything unknown or mistyped."""
    spec: TableSpec = validate({"name": path.stem, **read_yaml(path)}, str(path), TableSpec)
    return spec


def table_specs(folder: Path | None = None) -> list[TableSpec]:
    """Those of a folder, by name; by default those that come with the project."""
    return [read_table_spec(path) for path in sorted((folder or PRESETS / "tables").glob("*.yaml"))]
