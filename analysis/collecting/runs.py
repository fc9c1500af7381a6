"""Run directories as tables: the tidy frame (a row per run, conditions and level of blur), and `results.csv`."""

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd

from analysis.collecting.collection import ABOUT, IDENTITY, Collection, collect, unknown_column
from analysis.collecting.ensembles import Ensemble
from analysis.collecting.levels import level_order, levels_frame
from analysis.documents import CONDITIONS
from blurtrain.errors import RunError, nearest
from blurtrain.settings import Settings

__all__ = ["Collected", "called", "level_order", "load", "metrics", "results", "results_csv", "scan", "swept",
           "unfinished"]  # fmt: skip

Name = Literal["levels", "runs", "epochs", "measures", "images"]


@dataclass(frozen=True)
class Collected:
    """One look at a folder of runs."""

    frame: pd.DataFrame
    """As `load` describes it."""
    missing: list[str]
    """Ids of the runs that are not done, nor pruned, by name."""
    odd: list[str]
    """What a reader should know of the files, in plain words."""
    settings: dict[str, Settings] = field(default_factory=dict)
    """Of all runs, by id."""
    pruned: list[str] = field(default_factory=list)
    """Ids of the runs that a search has stopped, by name."""
    ensembles: list[Ensemble] = field(default_factory=list)
    """Runs that were measured as one; these are not in the frame."""
    not_read: list[str] = field(default_factory=list)
    """What lies among the runs and is none, or is damaged, with the reason: a line each."""
    collection: Collection | None = None
    """All that is known of them."""


def swept(frame: pd.DataFrame) -> list[str]:
    """The columns of the frame that are settings (`optimisation.learning_rate`): those in which its runs differ."""
    return [column for column in frame.columns if "." in column]


def scan(runs: str | Path) -> Collected:
    """All runs of a folder; raises RunError as `load` does."""
    collection = collect(runs)
    frame = _levels(collection)
    states = {row["run_id"]: row["state"] for row in collection.rows}
    return Collected(
        frame,
        [run_id for run_id, state in states.items() if state not in ("done", "pruned")],
        list(collection.notes),
        collection.settings,
        [run_id for run_id, state in states.items() if state == "pruned"],
        collection.ensembles,
        [_line(path, why) for path, why in collection.not_read],
        collection,
    )


def _levels(collection: Collection) -> pd.DataFrame:
    frame = levels_frame(collection)
    # Runs of other tasks than classification are done, though they have no accuracy.
    if frame.empty and not any(row["state"] == "done" for row in collection.rows):
        count = len(collection.rows)
        what = f"none of its {count} runs is done yet" if count else "holds no run"
        if collection.damaged:
            more = f" (and {len(collection.damaged) - 1} more)" if len(collection.damaged) > 1 else ""
            what = f"holds no done run that can be read: {_line(*collection.damaged[0])}{more}"
        raise RunError(f"{collection.folder}: {what}; --runs names the folder that holds the run directories")
    return frame


def _line(path: Path, why: str) -> str:
    """One line, whatever the folder is called."""
    line = why if why.startswith(str(path)) else f"{path}: {why}"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)


def load(runs: str | Path, table: Name = "levels", **where: Any) -> pd.DataFrame:
    """One row per (done run, conditions it was measured under, level of blur), datasets and regimes in the order of the
    study; or another `table`.

    Columns: run_id, dataset, regime, model, seed, sigma (pixels at 224; NaN where the blur is no Gaussian), blur (its
    label: sharp, gaussian-8, disk-4), top1, top5 (percent), top1_count, top5_count (images), loss, entropy,
    cross_entropy (means in nats; NaN where an older version measured, or an output was not finite); the conditions:
    split, resolution, truncate (kernels end at so many sigmas), light (what was blurred: sRGB values, or linear light),
    pixels (of the test images: source, resized once, straight from the source; stored, resized again from what is
    stored for training), drop_last (whether images behind the last whole batch were left out), epoch (the weights are
    those after so many), n, classes, largest_class (images); objects (how many the images show; 0: no object twice;
    NaN: not recorded by an older version), object_n and object_top1 (images and right ones of each); epochs, data_id
    (of the images trained on), settings_id (the same for runs that differ in their seed alone: only those may be
    averaged). Then a column, by its dotted name, for each setting in which runs on one dataset differ beyond what model
    and regime say.

    `regime` and `model` say what a run is, also where its settings differ from the presets it names. Runs that are not
    done are left out; `unfinished` names them. A run of which a file is damaged is left out, too, with a warning; also
    warns of levels that were measured twice with different outcomes. Raises RunError if there is no done run.

    Other tables, which are empty where there is nothing (see `analysis.collecting.collection.Collection`):

    runs      a row a run directory, done or not: its state and why, and every setting by its dotted name
    epochs    a row an epoch, a look at the val split, and a level of it: what was logged while it was trained
    measures  a row a done run, measure, conditions, level and metric, as `metrics`
    images    a row a done run, conditions, level and image, where records of each were kept

    `where`: only rows with this value, or one of a list of values, in a column of the table or of `runs` (dotted names
    by `**{"optimisation.epochs": 60}`; None: missing). Raises RunError, with the nearest name, for an unknown one.
    """
    if table not in get_args(Name):
        raise RunError(f"analysis.load: no table {table!r}; {nearest(table, get_args(Name))}")
    collection = collect(runs)
    frame = _TABLES[table](collection, where)
    for line in [*collection.notes, *(_line(path, why) for path, why in collection.damaged)]:
        warnings.warn(line, stacklevel=2)
    return frame


def _levels_where(collection: Collection, where: dict[str, Any]) -> pd.DataFrame:
    return _filtered(_levels(collection), collection, "levels", where)


def _runs_where(collection: Collection, where: dict[str, Any]) -> pd.DataFrame:
    return _filtered(collection.runs, collection, "runs", where)


def _epochs_where(collection: Collection, where: dict[str, Any]) -> pd.DataFrame:
    own = [name for name in collection.epochs_columns() if name != "run_id"]
    about = [name for name in (*ABOUT, *IDENTITY) if name not in own]
    return collection.epochs([*about[: len(ABOUT)], *own, *about[len(ABOUT) :]], **where)


def _measures_where(collection: Collection, where: dict[str, Any]) -> pd.DataFrame:
    columns = (*ABOUT, "measure", "metric", "value", "count", "blur", "sigma", *CONDITIONS, *IDENTITY)
    return collection.measures(columns, **where)


def _images_where(collection: Collection, where: dict[str, Any]) -> pd.DataFrame:
    of_runs = {name: value for name, value in where.items() if name in collection.runs and name not in CONDITIONS}
    ids = [row["run_id"] for row in collection.rows_where(of_runs)]
    measure = where.get("measure", "accuracy")
    own = {name: value for name, value in where.items() if name not in of_runs and name != "measure"}
    blurs = own.get("blur")
    frame = collection.images(ids, measure, [blurs] if isinstance(blurs, str) else blurs)
    return _filtered(frame, collection, "images", own)


_TABLES = {"levels": _levels_where, "runs": _runs_where, "epochs": _epochs_where, "measures": _measures_where,
           "images": _images_where}  # fmt: skip


def _filtered(frame: pd.DataFrame, collection: Collection, table: str, where: dict[str, Any]) -> pd.DataFrame:
    """The rows with these values, in columns of the frame or of `runs`."""
    for name, wanted in where.items():
        values = wanted if isinstance(wanted, list | tuple | set) else [wanted]
        if name in frame:
            frame = frame[
                frame[name].isin([v for v in values if v is not None]) | (frame[name].isna() & (None in values))
            ]
        elif name in collection.runs:
            ids = [row["run_id"] for row in collection.rows_where({name: wanted})]
            frame = frame[frame["run_id"].isin(ids)]
        else:
            raise unknown_column(name, f"table of {table}", [*frame.columns, *collection.runs.columns])
    return frame.reset_index(drop=True) if where else frame


def unfinished(runs: str | Path) -> list[str]:
    """Ids of the runs in the folder that are not done, by name; also of those that a search has stopped. Raises
    RunError where there is no such folder."""
    return [row["run_id"] for row in collect(runs).rows if row["state"] != "done"]


def metrics(runs: str | Path) -> pd.DataFrame:
    """What all measures found, as a long table: a row per (done run, measure, conditions, blur, metric).

    Columns: run_id, dataset, regime, model, seed, measure, metric, value (a mean, or the share that a count is of n),
    count (NaN: it is no count), blur, sigma (as `load` has them), the conditions of `load`, and epochs, data_id,
    settings_id. Empty where nothing was measured. Warns as `load` does; raises RunError where there is no such folder.
    """
    return load(runs, table="measures")


def called(sigma: float, blur: str) -> str:
    """What a level is called in columns: 8 for sigma 8, disk-4 for another kernel."""
    return blur if math.isnan(sigma) else f"{sigma:g}"


def results(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `load` as one row a run and conditions: run_id, dataset, regime, seed, top1@0, top1@1, ...,
    top1@disk-4 (percent), n, classes, model, epochs, resolution, split, the other conditions, objects, data_id,
    settings_id, and the settings that differ. A level that a run was not measured at is NaN."""
    row = ["run_id", *CONDITIONS]
    levels = list(zip(frame["sigma"], frame["blur"], strict=True))
    named = [f"top1@{called(*level)}" for level in levels]
    labels = list(dict.fromkeys(f"top1@{called(*level)}" for level in sorted(levels, key=lambda x: level_order(*x))))
    wide = frame.assign(level=named).pivot(index=row, columns="level", values="top1")
    about = frame.drop_duplicates(row).set_index(row, drop=False)
    wide = wide.loc[about.index, labels]
    first = ["run_id", "dataset", "regime", "seed"]
    last = ["n", "classes", "model", "epochs", "resolution", "split"]
    more = [*(name for name in CONDITIONS if name not in last), "objects", "data_id", "settings_id", *swept(frame)]
    return pd.concat([about[first], wide, about[[*last, *more]]], axis="columns").reset_index(drop=True)


def results_csv(frame: pd.DataFrame) -> str:
    """`results` as CSV. Four decimals: round(percent * n / 100) is the count of images for any n below a million."""
    table = results(frame)
    percents = [name for name in table.columns if name.startswith("top1@")]
    table[percents] = table[percents].map(lambda percent: "" if pd.isna(percent) else f"{percent:.4f}")
    return str(table.to_csv(index=False, float_format="%.12g", lineterminator="\n"))
