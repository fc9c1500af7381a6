"""Run directories as tables: the tidy frame (a row per run, conditions and sigma) and `results.csv`."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.evaluations import CONDITIONS, measured
from analysis.literature import DATASETS, REGIMES, study_order
from blurtrain.errors import RunError
from blurtrain.run import Run, find
from blurtrain.settings import Settings, settings_id
from blurtrain.settings.labels import differences, model_label, regime_label, shown


@dataclass(frozen=True)
class Collected:
    """One look at a folder of runs."""

    frame: pd.DataFrame
    """As `load` describes it."""
    missing: list[str]
    """Ids of the runs that are not done, by name."""
    odd: list[str]
    """What a reader should know of the files, in plain words."""


def swept(frame: pd.DataFrame) -> list[str]:
    """The columns of the frame that are settings (`optimisation.learning_rate`): those in which its runs differ."""
    return [column for column in frame.columns if "." in column]


def _rows(run: Run, settings: Settings, document: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The levels of one done run."""
    found, odd = measured(run, document, settings.optimisation.epochs)
    data_id = run.data_id() or f"unknown, of {run.id}"
    about = {
        "run_id": run.id,
        "dataset": settings.dataset,
        "regime": regime_label(settings),
        "model": model_label(settings),
        "seed": settings.seed,
    }
    identity = {
        "epochs": settings.optimisation.epochs,
        "data_id": data_id,
        "settings_id": settings_id(settings, data_id),
    }
    rows = []
    for values, levels in found.items():
        conditions = dict(zip(CONDITIONS, values, strict=True))
        for sigma, level in levels.items():
            shares = {f"top{k}": 100 * count / conditions["n"] for k, count in ((1, level.top1), (5, level.top5))}
            counts = {"top1_count": level.top1, "top5_count": level.top5}
            objects = {"objects": level.objects, "object_n": level.object_n, "object_top1": level.object_top1}
            rows.append({**about, "sigma": sigma, **shares, **counts, **conditions, **objects, **identity})
    return rows, odd


def scan(runs: str | Path) -> Collected:
    """All runs of a folder; raises RunError as `load` does."""
    done: dict[str, Settings] = {}
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    odd: list[str] = []
    for run in find(Path(runs)):
        if (document := run.result()) is None:
            missing.append(run.id)
            continue
        done[run.id] = run.settings
        of_run, noted = _rows(run, done[run.id], document)
        rows += of_run
        odd += noted
    if not rows:
        what = f"none of its {len(missing)} runs is done yet" if missing else "holds no run"
        raise RunError(f"{runs}: {what}; --runs names the folder that holds the run directories")
    differing = differences(list(done.values()))
    settings = {
        run_id: {name: _plain(values[k]) for name, values in differing.items()} for k, run_id in enumerate(done)
    }
    dataset, regime = study_order(DATASETS), study_order(REGIMES)
    conditions = ("seed", "run_id", *CONDITIONS, "sigma")
    rows.sort(
        key=lambda r: (
            dataset(r["dataset"]), regime(r["regime"]), r["model"],
            [_sortable(value) for value in settings[r["run_id"]].values()], [r[name] for name in conditions],
        )
    )  # fmt: skip
    return Collected(pd.DataFrame([row | settings[row["run_id"]] for row in rows]), missing, odd)


def _plain(value: Any) -> Any:
    """A setting as a cell of a table: lists and mappings as text."""
    return value if isinstance(value, int | float | str) else shown(value)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (True, value) if isinstance(value, str) else (False, value)


def load(runs: str | Path) -> pd.DataFrame:
    """One row per (done run, conditions it was measured under, sigma), datasets and regimes in the order of the study.

    Columns: run_id, dataset, regime, model, seed, sigma (pixels at 224), top1, top5 (percent), top1_count, top5_count
    (images); the conditions: split, resolution, truncate (kernels end at so many sigmas), light (what was blurred: sRGB
    values, or linear light), pixels (of the test images: source, resized once, straight from the source; stored,
    resized again from what is stored for training), drop_last (whether images behind the last whole batch were left
    out), epoch (the weights are those after so many), n, classes, largest_class (images); objects (how many the images
    show; 0: no object twice; NaN: not recorded by an older version), object_n and object_top1 (images and right ones of
    each); epochs, data_id (of the images trained on), settings_id (the same for runs that differ in their seed alone:
    only those may be averaged). Then a column, by its dotted name, for each setting in which runs on one dataset differ
    beyond what model and regime say.

    `regime` and `model` say what a run is, also where its settings differ from the presets it names. Runs that are not
    done are left out; `unfinished` names them. Warns of levels that were measured twice with different outcomes.
    Raises RunError if there is no done run, or if a file of a done run is damaged.
    """
    collected = scan(runs)
    for line in collected.odd:
        warnings.warn(line, stacklevel=2)
    return collected.frame


def unfinished(runs: str | Path) -> list[str]:
    """Ids of the runs in the folder that are not done, by name."""
    return [run.id for run in find(Path(runs)) if run.result() is None]


def results(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame of `load` as one row a run and conditions: run_id, dataset, regime, seed, top1@0, top1@1, ...
    (percent), n, classes, model, epochs, resolution, split, the other conditions, objects, data_id, settings_id, and
    the settings that differ. A sigma that a run was not measured at is NaN."""
    row = ["run_id", *CONDITIONS]
    labels = {sigma: f"top1@{sigma:g}" for sigma in sorted(frame["sigma"].unique())}
    wide = frame.assign(sigma=frame["sigma"].map(labels)).pivot(index=row, columns="sigma", values="top1")
    about = frame.drop_duplicates(row).set_index(row, drop=False)
    wide = wide.loc[about.index, list(labels.values())]
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
