"""The one place where tables meet what was collected: from the runs of a folder to a `Selection`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.collecting.collection import Collection, collect
from analysis.collecting.evaluations import VALUES, files_beside
from analysis.collecting.image_records import image_records
from analysis.collecting.read_settings import SettingsReader
from analysis.collecting.runs import Collected
from analysis.documents import CONDITIONS
from analysis.tabulation.codes import Codes, Ints, combined
from analysis.tabulation.selection import SERIES, ImageValues, Selection
from blurtrain.errors import BlurtrainError
from blurtrain.files import read_json
from blurtrain.run import Run
from blurtrain.settings import identifying
from blurtrain.settings.labels import short_names, shown
from blurtrain.trials import studies

_OF_RUNS = ("run_id", "dataset", "regime", "model", "seed", "state", "message", "epoch", "epochs", "data_id",
            "settings_id")  # fmt: skip
_MEASURED = ("run_id", "measure", "metric", "value", "count", "sigma", *SERIES, "by_object", "object_n")


def selection(runs: str | Path | Collection | Collected, values: Iterable[str]) -> Selection:
    """What a folder of runs holds of these metrics (METRIC or MEASURE.METRIC); of what was `scan`ned, the runs that are
    in its frame, and those not done.

    Raises RunError where there is no such folder.
    """
    kept = None
    if isinstance(runs, Collected):
        kept = {*runs.frame["run_id"], *runs.missing, *runs.pruned}
        runs = runs.collection or collect(Path())
    collection = runs if isinstance(runs, Collection) else collect(runs)
    places = [k for k, row in enumerate(collection.rows) if kept is None or row["run_id"] in kept]
    settings = _Settings(collection, np.array(places, np.int64))
    rows = [collection.rows[place] for place in places]
    about = pd.DataFrame({name: [row[name] for row in rows] for name in _OF_RUNS}).assign(kind=settings.kinds)
    names = {part for value in values for part in (value, value.partition(".")[2] or value)}
    table = collection.measures_table(_MEASURED, metric=sorted(names))
    run = collection.place_of(table["run_id"])
    if kept is not None:
        table, run = table.filter(np.isin(run, places)), run[np.isin(run, places)]
    if (np.diff(run) < 0).any():
        order = np.argsort(run, kind="stable")
        table, run = table.take(order), run[order]
    of_place = np.full(len(collection.rows), -1)
    of_place[places] = np.arange(len(places))
    return Selection(
        about,
        settings,
        table,
        of_place[run],
        collection.ensembles,
        images=ImageRecords(collection),
        all_metrics=lambda: collection.measures_table(["metric"])["metric"].unique().to_pylist(),
        trials=lambda: _trials(collection.folder),
        said_of=lambda run_id, measure: _said(Run(collection.folder / run_id), measure),
    )


def _trials(runs: Path) -> dict[str, tuple[str, str]]:
    """See `Selection.trials`. A run that two searches share is of the first."""
    found: dict[str, tuple[str, str]] = {}
    for study in studies(runs):
        trials = study.trials()
        short = short_names(dict.fromkeys(name for trial in trials for name in trial.active))
        for trial in trials:
            sets = ", ".join(f"{short[name]} {shown(value)}" for name, value in trial.active.items())
            words = f"{trial.number} ({sets or 'the base settings'})"
            found |= {run: (study.id, words) for run in trial.runs if run not in found}
    return found


def _said(run: Run, measure: str) -> Mapping[str, Any]:
    """What a measure's file says of its metrics."""
    for path in files_beside(run, measure, ".json"):
        document = read_json(path)
        if isinstance(document, dict) and isinstance(document.get("metrics"), dict):
            found: dict[str, Any] = document["metrics"]
            return found
    return {}


class _Settings(Sequence[Mapping[str, Any]]):
    """All settings but the seed, by dotted name, once for all runs that have the same; read where asked for."""

    def __init__(self, collection: Collection, places: Ints):
        sections = {name: of for name, of in collection.sections.items() if name != "seed"}
        self._texts = {name: texts for name, (texts, _) in sections.items()}
        codes = {name: np.asarray(codes, np.int64)[places] for name, (_, codes) in sections.items()}
        number = combined([Codes(self._texts[name], codes[name]) for name in sections]) if sections else places[:0]
        _, first, self.kinds = np.unique(number, return_index=True, return_inverse=True)
        self._codes = {name: of[first] for name, of in codes.items()}
        self._parsed: dict[tuple[str, int], dict[str, Any]] = {}
        self._known: dict[int, Mapping[str, Any]] = {}

    def __len__(self) -> int:
        return len(next(iter(self._codes.values()), ()))

    def __getitem__(self, kind: Any) -> Any:
        if not 0 <= kind < len(self):
            raise IndexError(kind)
        if kind not in self._known:
            self._known[kind] = {k: v for name in self._codes for k, v in self._section(name, kind).items()}
        return self._known[kind]

    def values(self, name: str) -> list[Any]:
        """Of one setting, or section, by kind."""
        first = name.split(".")[0]
        return [_setting(self._section(first, kind), name) for kind in range(len(self))] if first in self._codes else []

    def _section(self, name: str, kind: int) -> dict[str, Any]:
        code = int(self._codes[name][kind])
        if (name, code) not in self._parsed:
            self._parsed[name, code] = _flat(json.loads(self._texts[name][code]), name)
        return self._parsed[name, code]

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all settings that any run has."""
        each = [_flat(json.loads(text), name) for name, texts in self._texts.items() for text in texts]
        return frozenset().union(*each)

    @cached_property
    def identifying(self) -> frozenset[str]:
        """The settings that change what is trained."""
        # Which these are depends on the kinds of sections: every text of a section is looked at once.
        kinds = {int(np.argmax(codes == code)) for codes in self._codes.values() for code in np.unique(codes)}
        reader, found = SettingsReader(), set[str]()
        for kind in sorted(kinds):
            texts = {name: self._texts[name][int(codes[kind])] for name, codes in self._codes.items()}
            try:
                settings = reader.restore({**texts, "seed": "0"}, "")
            except BlurtrainError:  # of a part of the user's own that is not there any more: all of it may matter
                found |= {*self[kind]}
                continue
            of_kind = {*identifying(settings)}
            found |= {n for n in self[kind] if n in of_kind or any(n.startswith(f"{m}.") for m in of_kind)}
        return frozenset(found)


def _flat(value: Any, name: str) -> dict[str, Any]:
    """A section by dotted names."""
    if not isinstance(value, dict) or not value:
        return {name: value}
    return {path: inner for key, of_key in value.items() for path, inner in _flat(of_key, f"{name}.{key}").items()}


def _setting(flat: Mapping[str, Any], name: str) -> Any:
    """A setting, or a whole section; None where it is not given."""
    if name in flat:
        return flat[name]
    section = {key.removeprefix(f"{name}."): value for key, value in flat.items() if key.startswith(f"{name}.")}
    return section or None


class ImageRecords:
    """What is known of each image, by run; read where it is asked for, and once."""

    def __init__(self, collection: Collection):
        self._folder = collection.folder
        self._epochs = {row["run_id"]: int(row["epochs"]) for row in collection.rows}
        self._known: dict[tuple[str, ...], dict[Any, pd.DataFrame]] = {}

    def __call__(self, runs: Sequence[str], about: Mapping[str, Any]) -> ImageValues | None:
        """See `Selection.images`. The images of all runs have to be the same, and the objects that they show."""
        key = tuple(about[name] for name in SERIES)
        found = []
        for run in runs:
            of_run = self._of_run(run, about["measure"], about["metric"])
            if (one := of_run.get(key)) is None or len(one) != about["n"]:
                return None
            found.append(one)
        index, objects = (np.array([one[name].to_numpy() for one in found]) for name in ("index", "object"))
        if (index != index[0]).any():
            return None
        values = np.array([one[about["metric"]].to_numpy(np.float64) for one in found])
        if not np.isfinite(values).all():
            return None
        known = not pd.isna(objects).any() and (objects == objects[0]).all()
        return ImageValues(values, index[0], objects[0].astype(np.int64) if known else None)

    def _of_run(self, run: str, measure: str, metric: str) -> dict[Any, pd.DataFrame]:
        key = (run, measure, metric)
        if key not in self._known:
            self._known[key] = {}
            if not files_beside(Run(self._folder / run), measure, ".parquet"):
                return {}
            wanted = [*SERIES, "index", "object", metric]
            records = image_records(self._folder, {run: self._epochs[run]}, measure, columns=wanted)
            if "object" not in records:  # none is shown twice, or measured by an older version
                records["object"] = np.nan
            groups = records.groupby(list(SERIES), observed=True, dropna=False) if metric in records else ()
            self._known[key] = dict(iter(groups))
        return self._known[key]


def levels_as_measured(levels: pd.DataFrame) -> pd.DataFrame:
    """Rows as `analysis.load` has them, one a level, as one a metric."""
    parts = []
    for metric in ("top1", "top5", *VALUES):
        counts = levels.get(f"{metric}_count", np.nan)
        value = levels[metric] if metric in VALUES else counts / levels["n"]
        by_object = levels["object_top1"] if metric == "top1" else None
        parts.append(levels[["object_n", "sigma", "blur", *CONDITIONS]].assign(
            measure="accuracy", metric=metric, value=value, count=counts, by_object=by_object
        ))  # fmt: skip
    return pd.concat(parts, ignore_index=True)
