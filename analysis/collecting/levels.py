"""The frame of `analysis.load`: a row a done run, conditions and level of blur."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.collecting.arrow_tables import tuples
from analysis.collecting.collection import ABOUT, IDENTITY, Collection
from analysis.collecting.evaluations import VALUES
from analysis.documents import CONDITIONS
from analysis.literature import DATASETS, REGIMES, study_order
from blurtrain.settings.labels import differences, shown

_COUNTS = ("top1", "top5")


def levels_frame(collection: Collection) -> pd.DataFrame:
    """All levels of accuracy of done runs; see `analysis.load`."""
    table = collection.measures_table(measure="accuracy")
    place, level = collection.place_of(table["run_id"]), table["level"].to_numpy()
    starts = (
        np.flatnonzero(np.r_[True, (np.diff(place) != 0) | (np.diff(level) != 0)]) if len(place) else np.zeros(0, int)
    )
    row_of = np.repeat(np.arange(len(starts)), np.diff(np.r_[starts, len(place)]))
    own = _by_metric(table, row_of, len(starts))
    first = table.take(starts)
    run = place[starts]
    runs = np.unique(run)
    differing = _differing(collection, runs)
    ranks = _ranks(
        collection,
        runs,
        [dict(zip(values.index.tolist(), values.tolist(), strict=True)) for values in differing.values()],
    )
    blur, sigma = first["blur"].combine_chunks(), first["sigma"].to_numpy()
    conditions = {name: _series(first[name]) for name in CONDITIONS}
    keys: list[Any] = [_level_ranks(blur, sigma)]
    keys += [pd.factorize(conditions[name], sort=True)[0] for name in reversed(CONDITIONS)
             if len(conditions[name]) and conditions[name].nunique() > 1]  # fmt: skip
    order = np.lexsort([*keys, ranks[run]]) if len(run) else np.zeros(0, int)

    def of_run(name: str) -> pd.Series:
        return pd.Series([row[name] for row in collection.rows]).take(run)

    columns: dict[str, pd.Series] = {name: of_run(name) for name in ABOUT}
    columns |= {"sigma": pd.Series(sigma), "blur": _series(blur)}
    counts = {name: own[name, "count"] for name in _COUNTS}
    columns |= {name: pd.Series(100 * counts[name] / conditions["n"].to_numpy()) for name in _COUNTS}
    columns |= {f"{name}_count": pd.Series(counts[name]) for name in _COUNTS}
    columns |= {name: pd.Series(own[name, "value"]) for name in VALUES}
    columns |= conditions
    columns |= {"objects": pd.Series(first["objects"].to_numpy()), "object_n": tuples(first["object_n"]),
                "object_top1": own["top1", "by_object"]}  # fmt: skip
    columns |= {name: of_run(name) for name in IDENTITY}
    columns |= {name: values.take(np.searchsorted(runs, run)) for name, values in differing.items()}
    return pd.DataFrame({name: values.array.take(order) for name, values in columns.items()})


def level_order(sigma: float, blur: str) -> tuple[Any, ...]:
    """Sort key of levels: by sigma, then all others by label, disk-4 before disk-10."""
    parts = [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", blur)]
    return (True, 0.0, parts) if math.isnan(sigma) else (False, sigma, [])


def _series(column: Any) -> pd.Series:
    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    return pd.Series(column.to_pandas())


def _by_metric(table: Any, row_of: NDArray[np.int64], count: int) -> dict[tuple[str, str], Any]:
    """What the metrics of each level gave."""
    metric = table["metric"].combine_chunks()
    names = {name: code for code, name in enumerate(metric.dictionary.to_pylist())}
    codes = metric.indices.to_numpy()
    found: dict[tuple[str, str], Any] = {}
    for name in (*_COUNTS, *VALUES):
        rows = np.flatnonzero(codes == names.get(name, -1))
        of_metric = table.take(rows)
        for kind, column, fill in (
            ("count", of_metric["count"].fill_null(0), 0),
            ("value", of_metric["value"], math.nan),
        ):
            found[name, kind] = np.full(count, fill)
            found[name, kind][row_of[rows]] = column.to_numpy()
        if name == "top1":
            by_object = np.full(count, None, object)
            by_object[row_of[rows]] = tuples(of_metric["by_object"])
            found[name, "by_object"] = pd.Series(by_object, dtype=object)
    return found


def _level_ranks(blur: Any, sigma: NDArray[np.float64]) -> NDArray[np.int64]:
    """The place of each level in the order of levels."""
    labels = blur.dictionary.to_pylist()
    sigmas, of_sigma = np.unique(sigma, return_inverse=True)
    pairs, of_pair = np.unique(blur.indices.to_numpy().astype(int) * (len(sigmas) + 1) + of_sigma, return_inverse=True)
    levels = [(float(sigmas[pair % (len(sigmas) + 1)]), labels[pair // (len(sigmas) + 1)]) for pair in pairs.tolist()]
    ranks = np.zeros(len(levels), int)
    ranks[sorted(range(len(levels)), key=lambda k: level_order(*levels[k]))] = np.arange(len(levels))
    return ranks[of_pair]


def _differing(collection: Collection, runs: NDArray[np.int64]) -> dict[str, pd.Series]:
    """The settings in which these of the runs differ, by their place."""
    known = [(k, s) for k in runs.tolist() if (s := collection.settings.get(collection.rows[k]["run_id"])) is not None]
    index = [k for k, _ in known]
    found = differences([settings for _, settings in known])
    series = {name: pd.Series([_plain(value) for value in values], index=index) for name, values in found.items()}
    return series if len(known) == len(runs) else {name: values.reindex(runs) for name, values in series.items()}


def _ranks(collection: Collection, runs: NDArray[np.int64], settings: Sequence[dict[int, Any]]) -> NDArray[np.int64]:
    """The place of each run in the order of the study; only that of `runs` counts. settings: those that differ."""
    dataset, regime = study_order(DATASETS), study_order(REGIMES)

    def key(k: int) -> tuple[Any, ...]:
        row = collection.rows[k]
        return (dataset(row["dataset"]), regime(row["regime"]), row["model"],
                [_sortable(values[k]) for values in settings], row["seed"], row["run_id"])  # fmt: skip

    ranks = np.zeros(len(collection.rows), int)
    for rank, k in enumerate(sorted(runs.tolist(), key=key)):
        ranks[k] = rank
    return ranks


def _plain(value: Any) -> Any:
    """A setting as a cell of a table: lists and mappings as text."""
    return value if isinstance(value, int | float | str) else shown(value)


def _sortable(value: Any) -> tuple[bool, Any]:
    return (True, value) if isinstance(value, str) else (False, value)
