"""A folder of runs as tables: runs with all their settings, epochs, measures, and what is known of each image.

What was read is kept beside the runs (see `analysis.collecting.store`), so that only runs that have
changed are read again.
"""

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.collecting.arrow_tables import SETTINGS, epochs_table, frame_of, matches, measures_table, together
from analysis.collecting.ensembles import Ensemble, ensembles
from analysis.collecting.image_records import image_records
from analysis.collecting.read_run import is_running
from analysis.collecting.read_settings import FIELDS, SettingsReader
from analysis.collecting.reading import read_runs
from analysis.collecting.run_folders import Folders, look
from analysis.collecting.settings_columns import Column, settings_columns
from analysis.collecting.store import FOLDER, DamagedError, Store
from analysis.documents import CONDITIONS
from blurtrain.errors import BlurtrainError, RunError, nearest
from blurtrain.settings import Settings

ABOUT = ("run_id", "dataset", "regime", "model", "seed")
"""What a run is called: the first columns of every table."""
IDENTITY = ("epochs", "data_id", "settings_id")
"""By what runs are known to be repetitions of one another: the last columns of every table of measures."""
OF_RUNS = (*ABOUT, "state", "message", "epoch", *IDENTITY, "version", "host", "device", "torch", "resumed")
MEASURES = ("run_id", "measure", "level", "metric", "blur", "sigma", "value", "count", *CONDITIONS, "by_object",
            "objects", "object_n")  # fmt: skip
Progress = Callable[[int, int], object]


def collect(runs: str | Path, progress: Progress = lambda done, total: None) -> "Collection":
    """All run directories in the folder `runs`; only those that have changed since the last time are read.

    progress: called with how many of the runs that are read are done, and how many there are. Raises RunError where
    there is no such folder.
    """
    folder = Path(runs)
    if not folder.is_dir():
        raise RunError(f"{folder}: no such folder; --runs names the folder that holds the run directories")
    is_kept = (folder / FOLDER).is_dir() or any(folder.glob("*/settings.yaml"))  # elsewhere, nothing is left behind
    store = Store.of(folder) if is_kept else Store.temporary()
    with store.locked() as alone:
        store = store if alone else Store.temporary()
        try:
            return _collected(folder, store, progress)
        except DamagedError:  # what was kept
            store.discard()
            return _collected(folder, store, progress)


def _collected(folder: Path, store: Store, progress: Progress) -> "Collection":
    before = store.runs()
    found = look(folder, store.now_ns())
    stamps = {run.name: run.stamp for run in found.runs}
    tables = []
    fresh = set[str]()
    if before is not None:
        known = dict(zip(before["run_id"].to_pylist(), before["stamp"].to_pylist(), strict=True))
        fresh = {name for name, stamp in known.items() if stamp and stamps.get(name) == stamp}
        kept = before if len(fresh) == len(known) else before.filter(pa.array([name in fresh for name in known]))
        tables = [kept] if fresh else []
    names = [name for name in stamps if name not in fresh]
    failures: list[tuple[str, str]] = []
    if names:
        rows, failures = read_runs(folder, names, store, progress)
        if rows is not None:
            tables.append(rows.append_column("stamp", pa.array([stamps[name] for name in rows["run_id"].to_pylist()])))
    table = together(tables).sort_by("run_id") if tables else None
    if table is not None and (names or before is None or len(fresh) < before.num_rows):
        table = store.merged(table)
        try:
            store.publish(table)
        except RunError as error:  # a full disk, say: then all is read again the next time
            warnings.warn(f"what was collected is not kept: {error}", stacklevel=4)
    return Collection(folder, store, table, found, failures, len(names))


class Collection:
    """One look at a folder of runs."""

    def __init__(
        self,
        folder: Path,
        store: Store,
        table: Any | None,
        found: Folders,
        failures: Sequence[tuple[str, str]],
        read: int,
    ):
        self.folder = folder
        self.read = read
        """How many runs were read for it; the others were known."""
        self._store, self._table, self._others = store, table, found.others
        self._now_ns = store.now_ns()
        self.damaged = [(folder / name, why) for name, why in sorted(failures)]
        """Run directories that cannot be read, or of which a file of some measure cannot, each with the reason."""
        self.damaged += [(folder / row["run_id"], why) for row in self.rows for why in row["damaged"]]
        self._foreign = found.not_read

    # --- runs ---------------------------------------------------------------------------------------------------------

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """What is known of each run beside its settings, by name: a value for each of OF_RUNS, and more."""
        if self._table is None:
            return []
        rows: list[dict[str, Any]] = self._table.drop_columns(list(SETTINGS)).to_pylist()
        for row in rows:
            row |= {name: json.loads(row[name]) for name in ("notes", "damaged")}
            if is_running(row, self._now_ns):
                row |= {"state": "running", "message": ""}
        return rows

    @cached_property
    def runs(self) -> pd.DataFrame:
        """A row a run directory, done or not, by name.

        Columns: run_id, dataset, regime and model (as tables call them), seed, state (done, running, failed, pruned,
        waiting), message (why), epoch (reached), epochs, data_id (of the images trained on), settings_id, version,
        host, device, torch (of the newest attempt; empty where not recorded), resumed (where and with what other
        number of processes or threads, device or torch it went on, if it did), then every setting by its dotted name
        (lists, and mappings that a run need not have, as JSON; missing where a run has no such setting).
        """
        about = {name: [row[name] for row in self.rows] for name in OF_RUNS}
        return pd.DataFrame(about | {name: column.series() for name, column in self._settings_columns.items()})

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know of the measures of done runs, in plain words."""
        return [note for row in self.rows for note in row["notes"]]

    @cached_property
    def settings(self) -> dict[str, Settings]:
        """Of all runs, by id; but for those that are not valid for this process any more, such as a part of the user's
        own that it does not find. Equal sections are one object."""
        reader, found = SettingsReader(), {}
        alike: dict[tuple[int, ...], Settings | None] = {}  # but for their seed
        texts = {name: texts for name, (texts, _) in self._sections.items() if name != "seed"}
        kinds = zip(*(self._sections[name][1].tolist() for name in texts), strict=True)
        for row, kind in zip(self.rows, kinds, strict=True):
            if kind not in alike:
                own = {name: each[code] for (name, each), code in zip(texts.items(), kind, strict=True)}
                try:
                    alike[kind] = reader.restore({**own, "seed": str(row["seed"])}, row["run_id"])
                except BlurtrainError:
                    alike[kind] = None
            if (one := alike[kind]) is not None:
                found[row["run_id"]] = one.model_copy(update={"seed": row["seed"]})
        return found

    @property
    def ensembles(self) -> list[Ensemble]:
        """Runs that were measured as one, where the outcome lies among the runs."""
        return self._ensembles[0]

    @property
    def not_read(self) -> list[tuple[Path, str]]:
        """What lies among the runs and is none, and what is damaged, each with the reason, by path."""
        return sorted([*self._foreign, *self.damaged, *self._ensembles[1]])

    @cached_property
    def _ensembles(self) -> tuple[list[Ensemble], list[tuple[Path, str]]]:
        return ensembles([self.folder, *self._others])

    # --- the other tables ---------------------------------------------------------------------------------------------

    def measures(self, columns: Iterable[str] | None = None, **where: Any) -> pd.DataFrame:
        """What all measures found of done runs: a row a run, measure, conditions, level and metric.

        columns: those wanted (default: MEASURES), of MEASURES and of `runs`. where: for any of these columns the value,
        or a list of values, that rows must have. Of levels that were measured twice the first counts. value: a mean, or
        the share that a count is of n; level: numbers the levels of a run; by_object: the count of each object,
        objects: how many there are, object_n: images of each (as `analysis.load` has them).
        Raises RunError for a column that there is none of.
        """
        return self._frame("measures", columns, where)

    def epochs(self, columns: Iterable[str] | None = None, **where: Any) -> pd.DataFrame:
        """What was logged while runs were trained; what a later attempt did again counts once.

        A row an epoch of training (split train, blur missing), and of each look at the val split one with the means
        over its levels (blur missing), and one a level. Columns: run_id, epoch, split, blur, at (step), then what was
        logged: learning_rate, sigma, loss, the task's metrics, n (images), ...; and those of `runs` where asked for.
        `columns` and `where` as of `measures`.
        """
        return self._frame("epochs", columns, where)

    def images(
        self,
        run_ids: Iterable[str] | None = None,
        measure: str = "accuracy",
        blurs: Iterable[str] | None = None,
        columns: Iterable[str] | None = None,
    ) -> pd.DataFrame:
        """What is known of each image: a row a run, conditions, level and image, from the records that done runs have
        (evaluation.per_image=true).

        Columns: run_id, the conditions, blur, index (place of the image in the store of the dataset), label, prediction
        (class numbers), confidence, correct, then the values of the measure; or only those of `columns`. blurs: labels
        of the levels that are wanted, as `measures` has them.
        """
        done = [row["run_id"] for row in self.rows if row["state"] == "done"]
        wanted = done if run_ids is None else [run_id for run_id in run_ids if run_id in set(done)]
        epochs = {row["run_id"]: row["epochs"] for row in self.rows}
        return image_records(self.folder, {run_id: epochs[run_id] for run_id in wanted}, measure, blurs, columns)

    def epochs_columns(self) -> list[str]:
        """What was logged of any run."""
        return self._own("epochs")

    def measures_table(self, columns: Iterable[str] | None = None, **where: Any) -> Any:
        """`measures` as an Arrow table; words are dictionary-encoded."""
        return self._rows("measures", columns, where)

    def _frame(self, kind: str, columns: Iterable[str] | None, where: Mapping[str, Any]) -> pd.DataFrame:
        """Rows by name of their run."""
        table = self._rows(kind, None if columns is None else [*columns, "run_id"], where)
        place = self.place_of(table["run_id"])
        if (np.diff(place) < 0).any():
            table = table.take(np.argsort(place, kind="stable"))
        return frame_of(table if columns is None else table.select([*dict.fromkeys(columns)]))

    def place_of(self, run_id: Any) -> Any:
        """For rows that say which run they are of, where that stands in `rows`."""
        place = {row["run_id"]: k for k, row in enumerate(self.rows)}
        whole = run_id.combine_chunks()
        return np.array([place.get(name, -1) for name in whole.dictionary.to_pylist()], int)[whole.indices.to_numpy()]

    def _rows(self, kind: str, columns: Iterable[str] | None, where: Mapping[str, Any]) -> Any:
        wanted = None if columns is None else [*dict.fromkeys(columns)]
        try:
            return self._select(kind, wanted, where)
        except DamagedError:  # a file of what is kept; or another process has tidied up, long after this look
            self._store.discard()
            self.__dict__ |= vars(collect(self.folder))
            for name in ("runs", "notes", "settings", "_sections", "_settings_columns"):
                self.__dict__.pop(name, None)
            return self._select(kind, wanted, where)

    def _select(self, kind: str, columns: Sequence[str] | None, where: Mapping[str, Any]) -> Any:
        own = self._own(kind)
        names = list(own) if columns is None else list(columns)
        for name in (*names, *where):
            if name not in own and name not in OF_RUNS and name not in self._settings_columns:
                raise unknown_column(name, f"table of {kind}", [*own, *OF_RUNS, *self._settings_columns])
        of_rows = {name: value for name, value in where.items() if name in own and name != "run_id"}
        live: dict[str, list[str]] = {}
        for row in self.rows_where({name: value for name, value in where.items() if name not in of_rows}):
            live.setdefault(row["segment"], []).append(row["run_id"])
        needed = {"run_id", *of_rows, *(name for name in names if name in own)}
        parts = []
        for segment, ids in live.items():
            part = self._store.read(kind, segment, [*needed])
            mask = matches(part["run_id"], ids)
            for name, value in of_rows.items():
                column = part[name] if name in part.column_names else pa.nulls(part.num_rows)
                mask = pc.and_(mask, matches(column, value))
            parts.append(part.filter(mask))
        empty = _EMPTY[kind]
        table = together([*parts, empty.select([name for name in empty.column_names if name in needed])])
        joined = self._join(table["run_id"], [name for name in names if name not in own])
        return pa.table({name: joined[name] if name in joined
                         else table[name] if name in table.column_names else pa.nulls(table.num_rows)
                         for name in names})  # fmt: skip

    def _own(self, kind: str) -> list[str]:
        """The columns of a table of its own."""
        if kind == "measures":
            return list(MEASURES)
        segments = dict.fromkeys(row["segment"] for row in self.rows)
        found = (name for segment in segments for name in self._store.columns(kind, segment))
        return [*dict.fromkeys(["run_id", "epoch", "split", "blur", "at", *found])]

    def rows_where(self, where: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Of `rows`, those with these values, or one of a list of values, in columns of `runs`."""
        mask = np.ones(len(self.rows), bool)
        for name, value in where.items():
            mask &= np.asarray(matches(self._column(name), value))
        return [row for row, keep in zip(self.rows, mask.tolist(), strict=True) if keep]

    def _join(self, run_id: Any, names: Sequence[str]) -> dict[str, Any]:
        """Columns of `runs`, for rows that say which run they are of."""
        place = pa.array(self.place_of(run_id)) if names else None
        return {name: pc.take(self._column(name), place) for name in names}

    def _column(self, name: str) -> Any:
        """One column of `runs`."""
        if name in OF_RUNS:
            return pa.array([row[name] for row in self.rows])
        return pa.array(self._settings_columns[name].series(), from_pandas=True)

    @property
    def sections(self) -> Mapping[str, tuple[Sequence[str], Any]]:
        """The sections of settings by name: the texts (JSON) that there are of each, and which of them each run has."""
        return self._sections

    @cached_property
    def _settings_columns(self) -> dict[str, Column]:
        return settings_columns(self._sections)

    @cached_property
    def _sections(self) -> dict[str, tuple[list[str], Any]]:
        """The texts of each section, and which of them each run has."""
        if self._table is None:
            return {}
        columns = {name: self._table[f"settings.{name}"].combine_chunks() for name in FIELDS}
        return {name: (c.dictionary.to_pylist(), c.indices.to_numpy()) for name, c in columns.items()}


def unknown_column(name: str, table: str, known: Iterable[str]) -> RunError:
    """That there is no such column."""
    return RunError(f"the {table} has no column {name!r}; {nearest(name, known).partition(' (known')[0]}")


_EMPTY = {"measures": measures_table([]), "epochs": epochs_table([])}
