"""What is known of each image: records that lie beside the outcomes of measures, in the run directories themselves."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.collecting.arrow_tables import frame_of, matches, together
from analysis.collecting.evaluations import files_beside
from analysis.documents import CONDITIONS, RowsForm, outcome_at
from blurtrain.errors import RunError
from blurtrain.run import Run

_EMPTY = pa.table({name: pa.nulls(0) for name in ("run_id", *CONDITIONS, "blur", "index")})


def image_records(
    runs: Path,
    epochs: Mapping[str, int],
    measure: str = "accuracy",
    blurs: Iterable[str] | None = None,
    columns: Iterable[str] | None = None,
) -> pd.DataFrame:
    """A row a run, conditions, level and image: runs in the order given, images by their index. See
    `Collection.images`.

    epochs: of the runs wanted, by id. Warns of files that are damaged, and leaves them out.
    """
    wanted = None if blurs is None else set(blurs)
    names = None if columns is None else list(dict.fromkeys(columns))
    tables = [_EMPTY]
    for run_id, of_run in epochs.items():
        for path in files_beside(Run(runs / run_id), measure, ".parquet"):
            try:
                tables += _records(path, run_id, measure, of_run, wanted, names)
            except RunError as error:
                warnings.warn(str(error), stacklevel=3)
    # Columns without a type would make text of those that others have.
    table = together(tables[1:]) if len(tables) > 1 else _EMPTY
    return frame_of(table if names is None else table.select([name for name in names if name in table.column_names]))


def _records(
    path: Path, run_id: str, measure: str, epochs: int, wanted: set[str] | None, names: Sequence[str] | None
) -> list[Any]:
    """Those that belong to one outcome, with what they were measured under."""
    outcome = outcome_at(path.with_suffix(".json"))
    if not isinstance(outcome, RowsForm) or outcome.called != measure:
        return []
    levels = outcome.level_names()
    chosen = [label for label in levels if wanted is None or levels[label] in wanted]
    own = _read(path, names)
    own = own.filter(matches(own["blur"], chosen))
    blur = own["blur"].combine_chunks()
    place = {label: k for k, label in enumerate(chosen)}
    level = pa.array([place.get(label) for label in blur.dictionary.to_pylist()], pa.int32()).take(blur.indices)
    about = {"run_id": run_id, **outcome.conditions(epochs)}
    table = pa.table({
        **{name: pa.repeat(pa.scalar(value), own.num_rows) for name, value in about.items()},
        "blur": pa.DictionaryArray.from_arrays(level, pa.array([levels[label] for label in chosen], pa.string())),
        **{name: own[name] for name in own.column_names if name != "blur"},
    })  # fmt: skip
    keys = pa.table({"level": level, "index": own["index"]})
    return [table.take(pc.sort_indices(keys, [("level", "ascending"), ("index", "ascending")]))]


def _read(path: Path, names: Sequence[str] | None) -> Any:
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        known = file.schema_arrow.names
        table = file.read(columns=[name for name in known if names is None or name in {"blur", "index", *names}])
        blur = table["blur"]
        if not pa.types.is_dictionary(blur.type):
            table = table.set_column(table.column_names.index("blur"), "blur", blur.dictionary_encode())
        return table.unify_dictionaries()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunError(f"{path}: cannot be read: {error}; the file is damaged: remove it and measure again") from None


def objects_of(records: pd.DataFrame, images: "pd.Index[Any]") -> NDArray[Any] | None:
    """[images]: the object that each of these images, by their `index`, shows; None where records do not say it."""
    if "object" not in records:
        return None
    return records.drop_duplicates("index").set_index("index")["object"][images].to_numpy()
