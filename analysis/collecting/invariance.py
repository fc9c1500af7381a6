"""What the measure `features` found of runs, put together: of each dataset, network and conditions the regimes side by
side, untrained networks among them, with their seeds."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.collecting.collection import Collection
from analysis.collecting.image_records import objects_of
from analysis.collecting.kept_arrays import KeptArrays, kept_arrays
from analysis.collecting.levels import level_order
from analysis.documents import CONDITIONS
from analysis.literature import REGIMES, study_order
from analysis.statistics.estimates import Estimate, summary
from analysis.statistics.intervals import over_seeds

MEASURE = "features"
_ALIKE = [name for name in CONDITIONS if name != "epoch"]


@dataclass(frozen=True)
class Trained:
    """One regime: what was found of it, by stage and the label of a level."""

    name: str
    seeds: tuple[int, ...]
    values: Mapping[str, Mapping[str, Mapping[str, Estimate]]]
    """Of each metric: hamming, cosine, cka."""
    maps: Mapping[str, Mapping[str, NDArray[Any]]]
    """[H, W]: Hamming distance, mean of images and seeds."""
    examples: Mapping[str, Mapping[str, NDArray[Any]]]
    """[examples, H, W], of the first seed."""
    pictures: Mapping[str, NDArray[np.uint8]]
    """By level, [examples, S, S, 3]."""


@dataclass(frozen=True)
class Invariance:
    """All regimes on one dataset, measured alike."""

    dataset: str
    model: str
    detail: str
    """Options of the measure, and how images were shown, where that is not as usual."""
    n: int
    stages: tuple[str, ...]
    """In the order of the network."""
    levels: tuple[str, ...]
    """In order."""
    networks: tuple[Trained, ...]

    @property
    def title(self) -> str:
        """The dataset, with `detail` in parentheses where there is any."""
        return f"{self.dataset} ({self.detail})" if self.detail else self.dataset


def invariances(runs: Collection, run_ids: Iterable[str]) -> Iterator[Invariance]:
    """Of done runs, after their last epoch."""
    frame = runs.measures(["run_id", "dataset", "regime", "model", "seed", "settings_id", "epochs", "measure", "metric",
                           "blur", "sigma", "value", *CONDITIONS])  # fmt: skip
    wanted = set(run_ids)
    ours = frame["measure"].astype(str).str.partition("[")[0] == MEASURE
    frame = frame[ours & frame["run_id"].isin(wanted) & (frame["epoch"] == frame["epochs"])]
    for key, rows in frame.groupby(["dataset", "model", "measure", *_ALIKE], observed=True, dropna=False, sort=False):
        found = _together(runs, dict(zip(["dataset", "model", "measure", *_ALIKE], key, strict=True)), rows)
        if found is not None:
            yield found


def _together(runs: Collection, key: Mapping[str, Any], rows: pd.DataFrame) -> Invariance | None:
    epochs = dict(zip(rows["run_id"].astype(str), rows["epochs"].astype(int), strict=True))
    kept: dict[str, list[KeptArrays]] = {}
    for one in kept_arrays(runs.folder, epochs, str(key["measure"])):
        if all(one.conditions[name] == key[name] for name in _ALIKE) and one.conditions["epoch"] == epochs[one.run_id]:
            kept.setdefault(one.run_id, []).append(one)
    labels = rows.drop_duplicates("blur")
    levels = sorted(labels["blur"].astype(str), key=lambda blur: _order(labels, blur))
    metrics = dict.fromkeys(rows["metric"].astype(str))
    stages = tuple(metric.partition(".")[2] for metric in metrics if metric.startswith("hamming."))
    order = study_order(REGIMES)
    networks = [
        (str(regime), own)
        for (regime, _), own in sorted(
            rows.groupby(["regime", "settings_id"], observed=True, sort=False),
            key=lambda item: (int(item[1]["epochs"].iloc[0]) > 0, order(str(item[0][0])), item[0]),
        )
    ]
    names = [name for name, _ in networks]
    trained = tuple(
        _trained(
            runs,
            name if names.count(name) == 1 else f"{name} ({own['run_id'].iloc[0]})",
            own,
            kept,
            str(key["measure"]),
        )
        for name, own in networks
    )
    if not stages:
        return None
    detail = [str(key["measure"])] if "[" in str(key["measure"]) else []
    detail += [f"tested by {key['protocol']}"] if key["protocol"] != "whole" else []
    detail += [f"deblurred by {key['deblur']}"] if key["deblur"] != "none" else []
    detail += [f"{key['split']} split"] if key["split"] != "test" else []
    return Invariance(
        str(key["dataset"]), str(key["model"]), ", ".join(detail), int(key["n"]), stages, tuple(levels), trained
    )


def _order(labels: pd.DataFrame, blur: str) -> tuple[Any, ...]:
    sigma = labels.loc[labels["blur"] == blur, "sigma"].iloc[0]
    return level_order(float(sigma) if sigma is not None else math.nan, blur)


def _trained(
    runs: Collection, name: str, rows: pd.DataFrame, kept: Mapping[str, Sequence[KeptArrays]], measure: str
) -> Trained:
    by_seed = rows.drop_duplicates("run_id").sort_values(["seed", "run_id"]).drop_duplicates("seed")
    ids = by_seed["run_id"].astype(str).tolist()
    of_seeds = [{one.level: one.arrays for one in kept.get(run_id, [])} for run_id in ids]
    maps: dict[str, dict[str, NDArray[Any]]] = {}
    for blur in dict.fromkeys(blur for own in of_seeds for blur in own):
        for array in of_seeds[0].get(blur, {}):
            head, _, stage = array.partition(".")
            if head == "hamming" and not stage.endswith(".examples"):
                own = [arrays[blur][array] for arrays in of_seeds if array in arrays.get(blur, {})]
                maps.setdefault(stage, {})[blur] = np.mean(own, axis=0)
    first = of_seeds[0]
    return Trained(
        name,
        tuple(by_seed["seed"].astype(int)),
        _estimates(runs, rows, ids, measure),
        maps,
        {stage: {blur: arrays[f"hamming.{stage}.examples"] for blur, arrays in first.items()
                 if f"hamming.{stage}.examples" in arrays} for stage in maps},
        {blur: arrays["examples"] for blur, arrays in first.items() if "examples" in arrays},
    )  # fmt: skip


def _estimates(
    runs: Collection, rows: pd.DataFrame, ids: Sequence[str], measure: str
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Over seeds and images, where there are records of each image; else over seeds."""
    alike = {name: rows[name].iloc[0] for name in CONDITIONS}
    records = runs.images(ids, measure)
    if len(records):
        records = records[np.logical_and.reduce([records[name] == value for name, value in alike.items()])]
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for (metric, blur), own in rows[rows["run_id"].isin(ids)].groupby(["metric", "blur"], observed=True, sort=False):
        values = own["value"].astype(float).tolist()
        if not values or not np.isfinite(values).all():
            continue
        head, _, stage = str(metric).partition(".")
        each = _of_images(records, str(metric), str(blur), ids)
        found.setdefault(head, {}).setdefault(stage, {})[str(blur)] = (
            summary(*each) if each is not None and len(each[0]) == len(values) else _of_seeds(values)
        )
    return found


def _of_images(
    records: pd.DataFrame, metric: str, blur: str, ids: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[Any] | None] | None:
    """[seeds, images], and of each image the object that it shows, where that is known; None where not every seed has
    the same images."""
    if metric not in records:
        return None
    own = records[records["blur"] == blur]
    table = own.pivot_table(index="run_id", columns="index", values=metric, observed=True)
    if set(table.index) != set(ids) or table.isna().to_numpy().any():
        return None
    return np.asarray(table.loc[list(ids)], np.float64), objects_of(own, table.columns)


def _of_seeds(values: Sequence[float]) -> Estimate:
    if len(values) == 1:
        return Estimate(values[0], math.nan, math.nan, math.nan, 1, "images")
    mean, low, high, sd = over_seeds(values, 0.0)
    return Estimate(mean, low, high, sd, len(values), "seeds")
