"""Run directories as tables: the tidy frame (a row per run, conditions and level of blur), and `results.csv`."""

import contextlib
import math
import re
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.documents import CONDITIONS, Level
from analysis.ensembles import Ensemble, ensembles
from analysis.evaluations import accuracies, level_row, others
from analysis.literature import DATASETS, REGIMES, study_order
from blurtrain.errors import BlurtrainError, RunError
from blurtrain.run import Run, find
from blurtrain.settings import Settings, settings_id
from blurtrain.settings.labels import differences, model_label, regime_label, shown


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


def swept(frame: pd.DataFrame) -> list[str]:
    """The columns of the frame that are settings (`optimisation.learning_rate`): those in which its runs differ."""
    return [column for column in frame.columns if "." in column]


def _about(run: Run, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run is called, and which runs it may be averaged with."""
    data_id = run.data_id() or f"unknown, of {run.id}"
    name = {
        "run_id": run.id,
        "dataset": settings.dataset,
        "regime": regime_label(settings),
        "model": model_label(settings),
        "seed": settings.seed,
    }
    epochs = settings.optimisation.epochs
    return name, {"epochs": epochs, "data_id": data_id, "settings_id": settings_id(settings, data_id)}


def _rows(run: Run, settings: Settings, document: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
    """The levels of one done run."""
    found, odd = accuracies(run, document, settings.optimisation.epochs)
    about, identity = _about(run, settings)
    rows = []
    for values, levels in found.items():
        conditions = dict(zip(CONDITIONS, values, strict=True))
        rows += [{**about, **level_row(level, conditions), **identity} for level in levels.values()]
    return rows, odd


def scan(runs: str | Path) -> Collected:
    """All runs of a folder; raises RunError as `load` does."""
    done: dict[str, Settings] = {}
    waiting: dict[str, Settings] = {}
    rows: list[dict[str, Any]] = []
    missing: list[str] = []
    pruned: list[str] = []
    odd: list[str] = []
    for run in find(Path(runs)):
        if (document := run.result()) is None:
            (pruned if run.pruned() else missing).append(run.id)
            with contextlib.suppress(BlurtrainError):  # begun a moment ago, or damaged: it will say so itself
                waiting[run.id] = run.settings
            continue
        done[run.id] = run.settings
        of_run, noted = _rows(run, done[run.id], document)
        rows += of_run
        odd += noted
    if not rows:
        unfinished = len(missing) + len(pruned)
        what = f"none of its {unfinished} runs is done yet" if unfinished else "holds no run"
        raise RunError(f"{runs}: {what}; --runs names the folder that holds the run directories")
    differing = differences(list(done.values()))
    settings = {
        run_id: {name: _plain(values[k]) for name, values in differing.items()} for k, run_id in enumerate(done)
    }
    dataset, regime = study_order(DATASETS), study_order(REGIMES)
    conditions = ("seed", "run_id", *CONDITIONS)
    rows.sort(
        key=lambda r: (
            dataset(r["dataset"]), regime(r["regime"]), r["model"],
            [_sortable(value) for value in settings[r["run_id"]].values()], [r[name] for name in conditions],
            level_order(r["sigma"], r["blur"]),
        )
    )  # fmt: skip
    frame = pd.DataFrame([row | settings[row["run_id"]] for row in rows])
    return Collected(frame, missing, odd, done | waiting, pruned, ensembles(Path(runs)))


def level_order(sigma: float, blur: str) -> tuple[Any, ...]:
    """Sort key of levels: by sigma, then all others by label, disk-4 before disk-10."""
    parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", blur)]
    return (True, 0.0, parts) if math.isnan(sigma) else (False, sigma, [])


def _plain(value: Any) -> Any:
    """A setting as a cell of a table: lists and mappings as text."""
    return value if isinstance(value, int | float | str) else shown(value)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (True, value) if isinstance(value, str) else (False, value)


def load(runs: str | Path) -> pd.DataFrame:
    """One row per (done run, conditions it was measured under, level of blur), datasets and regimes in the order of the
    study.

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
    done are left out; `unfinished` names them. Warns of levels that were measured twice with different outcomes.
    Raises RunError if there is no done run, or if a file of a done run is damaged.
    """
    collected = scan(runs)
    for line in collected.odd:
        warnings.warn(line, stacklevel=2)
    return collected.frame


def unfinished(runs: str | Path) -> list[str]:
    """Ids of the runs in the folder that are not done, by name; also of those that a search has stopped."""
    return [run.id for run in find(Path(runs)) if run.result() is None]


def metrics(runs: str | Path) -> pd.DataFrame:
    """What all measures found, as a long table: a row per (done run, measure, conditions, blur, metric).

    Columns: run_id, dataset, regime, model, seed, measure, metric, blur, sigma (as `load` has them), value (a mean, or
    the share that a count is of n), count (NaN: it is no count), the conditions of `load`, and epochs, data_id,
    settings_id. Raises RunError as `load` does.
    """
    rows: list[dict[str, Any]] = []
    for run in find(Path(runs)):
        if (document := run.result()) is None:
            continue
        settings = run.settings
        about, identity = _about(run, settings)
        found, _ = accuracies(run, document, settings.optimisation.epochs)
        outcomes = [("accuracy", dict(zip(CONDITIONS, key, strict=True)), [*levels.values()])
                    for key, levels in found.items()]  # fmt: skip
        for measure, conditions, levels in [*outcomes, *others(run, settings.optimisation.epochs)]:
            for level in levels:
                where = {"blur": level.blur, "sigma": level.sigma}
                rows += [{**about, "measure": measure, **value, **where, **conditions, **identity}
                         for value in _metrics(level, conditions["n"])]  # fmt: skip
    return pd.DataFrame(rows)


def _metrics(level: Level, n: int) -> list[dict[str, Any]]:
    counts = [{"metric": name, "value": count / n, "count": count} for name, count in level.counts.items()]
    return counts + [{"metric": name, "value": value, "count": math.nan} for name, value in level.values.items()]


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
