"""Claims of the studies as files, `configs/claims/*.yaml`: which cells of which table lie on which side of what.

claim:    what is claimed, in one sentence
source:   who claims it
table:    a table (see `analysis.tabulation.specs`) with a `baseline`, and with show: difference or ratio
expected: higher or lower than the baseline ...
margin:   ... by more than this (0; in points of accuracy or other units of the metric; of ratios not allowed). Below 0:
          not worse than by so much
contrast: {name: dataset, of: faces, against: [toybox-instance, ...]}
          instead of each cell by itself: cells that are `of`, beside those that are `against`, all else equal. With
          show: ratio, of other test images, one ratio divided by the other; with show: difference, of the same test
          images, one difference minus the other
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from analysis.tabulation.specs import TableSpec
from blurtrain.documents import read_yaml
from blurtrain.schema import validate
from blurtrain.settings import PRESETS


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Labels = Annotated[
    tuple[str | float, ...], BeforeValidator(lambda given: [given] if isinstance(given, str | float) else given)
]


class Contrast(_Strict):
    """What cells have of `name`."""

    name: str
    of: Labels
    against: Labels

    @property
    def of_other_images(self) -> bool:
        """Whether the cells are of other test images: those of another dataset."""
        return self.name == "dataset"


class Claim(_Strict):
    """What a file says."""

    name: str
    claim: str
    source: str
    table: TableSpec
    expected: Literal["higher", "lower"] = "higher"
    margin: float = 0.0
    contrast: Contrast | None = None

    @model_validator(mode="before")
    @classmethod
    def _table_has_a_name(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("table"), dict):
            return {**given, "table": {"name": given.get("name"), "title": given.get("claim"), **given["table"]}}
        return given

    @model_validator(mode="after")
    def _compares(self) -> "Claim":
        if not self.table.baseline or self.table.show == "value":
            raise ValueError("table needs a baseline, and show: difference or ratio")
        if self.table.show == "ratio" and self.margin:
            raise ValueError("margin goes with show: difference")
        if self.contrast and self.contrast.of_other_images != (self.table.show == "ratio"):
            raise ValueError("a contrast of datasets goes with show: ratio, any other with show: difference")
        return self


def claims(folder: Path | None = None) -> list[Claim]:
    """Those of a folder, by name; by default those that come with the project. Raises SettingsError, one line."""
    paths = sorted((folder or PRESETS / "claims").glob("*.yaml"))
    return [validate({"name": path.stem, **read_yaml(path)}, str(path), Claim) for path in paths]
