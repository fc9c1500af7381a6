"""What was read of runs as Arrow tables, column by column, and tables of several parts as one."""

import json
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.collecting.read_run import RUN_COLUMNS, RunRead
from analysis.collecting.read_settings import FIELDS
from analysis.documents import CONDITIONS

SETTINGS = tuple(f"settings.{name}" for name in FIELDS)
"""Columns of the table of runs: each section as JSON."""
_TEXT = ("split", "light", "pixels", "protocol", "deblur")
_WHOLE = ("epoch", "at", "n", "skipped")
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def runs_table(read: Sequence[RunRead]) -> Any:
    """A row a run: RUN_COLUMNS, and SETTINGS."""
    columns = {name: pa.array([json.dumps(run.row[name]) for run in read], pa.string()) if kind is list
               else pa.array([run.row[name] for run in read], _TYPES[kind])
               for name, kind in RUN_COLUMNS.items()}  # fmt: skip
    columns |= {f"settings.{name}": pa.array([run.settings[name] for run in read], pa.string()).dictionary_encode()
                for name in FIELDS}  # fmt: skip
    return pa.table(columns)


def measures_table(read: Sequence[RunRead]) -> Any:
    """A row a run, measure, conditions, level and metric. `level` numbers the levels of a run."""
    found = [(k, one) for k, run in enumerate(read) for one in run.measures]
    levels = [level for _, one in found for level in one.levels]
    # Nearly all levels have the same metrics, so that these are looked at once.
    kinds: dict[tuple[tuple[str, ...], tuple[str, ...]], int] = {}
    kind = _array([kinds.setdefault((tuple(x.counts), tuple(x.values)), len(kinds)) for x in levels])
    metrics = {
        name: k for k, name in enumerate(dict.fromkeys(name for both in kinds for names in both for name in names))
    }
    of_kind = [_array([metrics[name] for names in both for name in names]) for both in kinds]
    counted = [np.arange(len(counts) + len(values)) < len(counts) for counts, values in kinds]
    rows_of = _array([len(codes) for codes in of_kind])[kind]

    of_found = np.repeat(np.arange(len(found)), _array([len(one.levels) for _, one in found]))
    run = _array([k for k, _ in found])[of_found]
    first = np.flatnonzero(np.r_[True, np.diff(run) != 0]) if len(run) else run
    number = np.arange(len(run)) - np.repeat(first, np.diff(np.r_[first, len(run)]))

    is_count = np.concatenate([np.zeros(0, bool), *(counted[k] for k in kind.tolist())])
    count, value = np.zeros(len(is_count), np.int64), np.zeros(len(is_count))
    count[is_count] = [right for level in levels for right in level.counts.values()]
    value[~is_count] = [mean for level in levels for mean in level.values.values()]
    of_n = np.repeat(_array([one.conditions["n"] for _, one in found])[of_found], rows_of)
    value[is_count] = count[is_count] / of_n[is_count]
    by_object = pa.nulls(len(is_count), pa.list_(pa.int32()))
    if any(level.object_counts for level in levels):
        right = [level.object_counts.get(name) for level in levels for name in (*level.counts, *level.values)]
        by_object = pa.array(right, by_object.type)

    def words(of_each: Sequence[str], each: NDArray[np.int64]) -> Any:
        unique = {word: k for k, word in enumerate(dict.fromkeys(of_each))}
        codes = _array([unique[word] for word in of_each])[each] if len(each) else each
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array([*unique], pa.string()))

    whose, of_level = np.repeat(of_found, rows_of), np.repeat(np.arange(len(levels)), rows_of)
    conditions = {
        name: words([one.conditions[name] for _, one in found], whose) if name in _TEXT
        else pa.array(np.array([one.conditions[name] for _, one in found], _NUMPY[name])[whose])
        for name in CONDITIONS
    }  # fmt: skip
    sigma, objects = (np.array([getattr(x, name) for x in levels], float)[of_level] for name in ("sigma", "objects"))
    return pa.table({
        "run_id": words([run.row["run_id"] for run in read], np.repeat(run, rows_of)),
        "measure": words([one.measure for _, one in found], whose),
        "level": pa.array(np.repeat(number, rows_of).astype(np.int32)),
        "metric": words([*metrics], np.concatenate([kind[:0], *(of_kind[k] for k in kind.tolist())])),
        "blur": words([level.blur for level in levels], of_level),
        "sigma": pa.array(sigma, from_pandas=False),
        "value": pa.array(value, from_pandas=False),
        "count": pa.array(count, mask=~is_count),
        **conditions,
        "by_object": by_object,
        "objects": pa.array(objects, from_pandas=False),
        "object_n": words(["" if x.object_n is None else json.dumps(x.object_n) for x in levels], of_level),
    })  # fmt: skip


def _array(values: Sequence[int]) -> NDArray[np.int64]:
    return np.array(values, np.int64)


_NUMPY = {name: {"truncate": np.float64, "drop_last": np.bool_}.get(name, np.int64) for name in CONDITIONS}


def epochs_table(read: Sequence[RunRead]) -> Any:
    """A row an epoch of training or a look at the val split: numbers as numbers, all else as text."""
    rows = [row for run in read for row in run.epochs]
    names = dict.fromkeys(name for keys in dict.fromkeys(map(tuple, rows)) for name in keys)
    own = {name: _column(name, _values(name, rows)) for name in names}
    codes = np.repeat(np.arange(len(read), dtype=np.int32), [len(run.epochs) for run in read])
    run_id = pa.DictionaryArray.from_arrays(codes, pa.array([run.row["run_id"] for run in read], pa.string()))
    first: dict[str, Any] = {name: own.pop(name) for name in ("epoch", "split", "blur", "at") if name in own}
    return pa.table({"run_id": run_id, **first, **own})


def _values(name: str, rows: Sequence[dict[str, Any]]) -> list[Any]:
    try:
        return list(map(itemgetter(name), rows))
    except KeyError:
        return [row.get(name) for row in rows]


def _column(name: str, values: Sequence[Any]) -> Any:
    kinds = set(map(type, values)) - {type(None)}
    if name in _WHOLE and kinds <= {int}:
        return pa.array(values, pa.int64())
    if name not in ("split", "blur", "pixels") and kinds <= {int, float}:
        return pa.array(values, pa.float64(), from_pandas=False)
    texts = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return pa.array(texts, pa.string()).dictionary_encode()


def together(tables: Iterable[Any]) -> Any:
    """Tables one below the other. A column that some lack is null there; one that is text in some is text in all."""
    tables = list(tables)
    kinds: dict[str, Any] = {}
    for table in tables:
        for field in table.schema:
            before = kinds.setdefault(field.name, field.type)
            if before != field.type:
                kinds[field.name] = pa.string() if _is_text(before) or _is_text(field.type) else pa.float64()
    schema = pa.schema(list(kinds.items()))
    return pa.concat_tables([_as(table, schema) for table in tables]).unify_dictionaries()


def _as(table: Any, schema: Any) -> Any:
    columns = []
    for field in schema:
        if field.name in table.column_names:
            column = table[field.name]
            columns.append(column if column.type == field.type else column.cast(field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_dictionary(kind))


def matches(column: Any, wanted: Any) -> Any:
    """Which entries of a column are `wanted`, or one of a list of values; None is a value that is missing, or NaN."""
    values = list(wanted) if isinstance(wanted, list | tuple | set) else [wanted]
    present = [value for value in values if value is not None]
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        among = matches(column.dictionary, [*present])
        found = pc.fill_null(pc.take(among, column.indices), False)
    else:
        found = _is_in(column, present)
    if len(present) < len(values):
        found = pc.or_(found, pc.is_null(column, nan_is_null=not pa.types.is_dictionary(column.type)))
    return found


def _is_in(column: Any, values: Sequence[Any]) -> Any:
    try:
        return pc.is_in(column, value_set=pa.array(values, column.type))
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError):  # of another kind, so that none is equal
        own = column.to_pylist()
        return pa.array([any(value == one for one in values) for value in own], pa.bool_())


def frame_of(table: Any) -> pd.DataFrame:
    """A table as a frame: words as text, counts of objects as tuples, missing ones None."""
    plain = {name: table[name].cast(pa.string()) if pa.types.is_dictionary(table[name].type) else table[name]
             for name in table.column_names if name not in ("by_object", "object_n")}  # fmt: skip
    frame = pa.table(plain).to_pandas()
    for name in table.column_names:
        if name in ("by_object", "object_n"):
            frame[name] = tuples(table[name])
    return frame[table.column_names]


def tuples(column: Any) -> pd.Series:
    """Lists of counts, or JSON of such, as tuples; None where there are none."""
    found = np.full(len(column), None, object)
    if pa.types.is_list(column.type):
        for k in np.flatnonzero(~column.is_null().to_numpy()).tolist():
            found[k] = tuple(column[k].as_py())
    else:
        whole = column.combine_chunks()
        words = [tuple(json.loads(text)) if text else None for text in whole.dictionary.to_pylist()]
        each = np.empty(len(words), object)
        for k, word in enumerate(words):
            each[k] = word
        found = each[whole.indices.to_numpy()] if len(words) else found
    return pd.Series(found, dtype=object)
