"""Run directories as tables: the tidy frame (a row per run and sigma) and `results.csv` (a row per run)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from analysis.literature import DATASETS, REGIMES, study_order
from blurtrain.errors import RunError, SettingsError
from blurtrain.run import Run, find, read_json
from blurtrain.schema import validate

REFERENCE = 224  # sigma is in pixels at this resolution, in every table and figure


class _Document(BaseModel):
    # Fields that training may add later are no reason to refuse a file.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class _Result(_Document):
    """`result.json`."""

    run_id: str
    dataset: str
    regime: str
    model: str
    seed: int
    epochs: int
    accuracy: str = Field(pattern=r"^[^/]+$")  # a file in evaluations/, not a path out of it


class _Level(_Document):
    sigma: float = Field(ge=0)
    top1: int = Field(ge=0)
    top5: int


class _Accuracy(_Document):
    """`evaluations/accuracy-<hash>.json`."""

    measure: Literal["accuracy"]
    split: str
    n: int = Field(gt=0)
    classes: int = Field(gt=0)
    largest_class: int = Field(gt=0)
    resolution: int = Field(gt=0)
    reference_resolution: int = Field(gt=0)
    truncate: float
    light: Literal["sRGB", "linear"] = "sRGB"
    pixels: Literal["source", "stored"] = "stored"
    levels: tuple[_Level, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _possible(self) -> "_Accuracy":
        if self.largest_class > self.n:
            raise ValueError(f"largest_class is {self.largest_class} of only {self.n} images")
        for level in self.levels:
            if not level.top1 <= level.top5 <= self.n:
                raise ValueError(f"at sigma {level.sigma:g}, top1 <= top5 <= n does not hold")
        if len({f"{level.sigma:g}" for level in self.levels}) < len(self.levels):
            raise ValueError("a sigma is given twice")
        return self


_D = TypeVar("_D", bound=_Document)


def _checked(document: Mapping[str, Any] | None, path: Path, model: type[_D]) -> _D:
    if document is None:
        raise RunError(f"{path}: is missing although the run is done; move the run out of the folder, or run it again")
    try:
        checked: _D = validate(document, str(path), model)
    except SettingsError as error:
        raise RunError(f"{error}; the file is damaged: evaluate the run again") from None
    return checked


def _rows(run: Run) -> list[dict[str, Any]]:
    """The levels of one run, none if it is not done."""
    document = run.result()
    if document is None:
        return []
    result = _checked(document, run.path / "result.json", _Result)
    if result.run_id != run.id:
        # A copy would pass for a repetition of the experiment.
        raise RunError(f"{run.path}: holds run {result.run_id!r}; give the folder its name back, or move it elsewhere")
    path = run.evaluations / result.accuracy
    measured = _checked(read_json(path), path, _Accuracy)
    return [
        {
            **result.model_dump(include={"run_id", "dataset", "regime", "model", "seed"}),
            "sigma": level.sigma * REFERENCE / measured.reference_resolution,
            "top1": 100 * level.top1 / measured.n,
            "top5": 100 * level.top5 / measured.n,
            "top1_count": level.top1,
            "top5_count": level.top5,
            **measured.model_dump(include={"n", "classes", "largest_class"}),
            "epochs": result.epochs,
            **measured.model_dump(include={"resolution", "split", "truncate", "light", "pixels"}),
        }
        for level in measured.levels
    ]


def scan(runs: str | Path) -> tuple[pd.DataFrame, list[str]]:
    """The tidy frame of `load`, and the ids of the runs that are not done, from one look at the folder."""
    found = {run.id: _rows(run) for run in find(Path(runs))}
    rows = [row for of_run in found.values() for row in of_run]
    missing = [run_id for run_id, of_run in found.items() if not of_run]
    if not rows:
        what = f"none of its {len(missing)} runs is done yet" if missing else "holds no run"
        raise RunError(f"{runs}: {what}; --runs names the folder that holds the run directories")
    dataset, regime = study_order(DATASETS), study_order(REGIMES)
    rows.sort(key=lambda r: (dataset(r["dataset"]), regime(r["regime"]), r["seed"], r["run_id"], r["sigma"]))
    return pd.DataFrame(rows), missing


def load(runs: str | Path) -> pd.DataFrame:
    """One row per (done run, sigma), datasets and regimes in the order of the study.

    Columns: run_id, dataset, regime, model, seed, sigma (pixels at 224), top1, top5 (percent), top1_count, top5_count
    (images), n, classes, largest_class (images), epochs, resolution, split, truncate (kernels end at so many sigmas),
    light (what was blurred: sRGB values, or linear light), pixels (of the test images: source, resized once, straight
    from the source; stored, resized again from what is stored for training).
    Runs that are not done are left out; `unfinished` names them.
    Raises RunError if there is no done run, or if a file of a done run is damaged.
    """
    return scan(runs)[0]


def unfinished(runs: str | Path) -> list[str]:
    """Ids of the runs in the folder that are not done, by name."""
    return [run.id for run in find(Path(runs)) if run.result() is None]


def results(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `load` as one row a run: run_id, dataset, regime, seed, top1@0, top1@1, ... (percent), n, classes,
    model, epochs, resolution, split, pixels. A sigma that a run was not measured at is NaN."""
    labels = {sigma: f"top1@{sigma:g}" for sigma in sorted(frame["sigma"].unique())}
    wide = frame.assign(sigma=frame["sigma"].map(labels)).pivot(index="run_id", columns="sigma", values="top1")
    wide.columns.name = None
    about = frame.drop_duplicates("run_id").set_index("run_id", drop=False)
    return pd.concat(
        [
            about[["run_id", "dataset", "regime", "seed"]],
            wide[list(dict.fromkeys(labels.values()))],
            about[["n", "classes", "model", "epochs", "resolution", "split", "pixels"]],
        ],
        axis="columns",
    ).reset_index(drop=True)


def results_csv(frame: pd.DataFrame) -> str:
    """`results` as CSV. Four decimals: round(percent * n / 100) is the count of images for any n below a million."""
    return str(results(frame).to_csv(index=False, float_format="%.4f", lineterminator="\n"))
