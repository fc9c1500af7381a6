"""What the page holds of each run, to be opened from a cell: how it stands, its settings, its journal, the end of its
log. In a form that stays small: of many runs, less."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from analysis.collecting.collection import Collection
from blurtrain.run import Run
from blurtrain.settings.labels import shown

MOST_RUNS = 2000
"""Of which anything is held."""
JOURNAL_ROWS = 6000
"""Of all runs together."""
MOST_EPOCHS, LEAST_EPOCHS = 100, 6
"""Of one run; where there is room for less than the least, no journal is held."""
LOGS = 100
"""Runs whose log's end is held, those first that are not done."""
LOG_LINES, LOG_LETTERS, LOG_BYTES = 15, 300, 16384
_BOOKKEEPING = ("run_id", "split", "blur", "at", "n", "blurs", "skipped", "images_per_second", "data_wait",
                "memory_gib", "pixels")  # fmt: skip
"""Columns of a journal that are no curve of the training."""
_ABOUT = ("dataset", "regime", "model", "seed", "message", "data_id", "version", "host", "device", "torch",
          "resumed")  # fmt: skip


def run_details(collection: Collection | None) -> dict[str, Any]:
    """As the page's script reads it: `runs` by their place, `differing` settings with their `values` as text, of which
    each run's `settings` are places, those that all have in `common`, the `folder`, and what is `omitted`."""
    empty: dict[str, Any] = {"folder": "", "omitted": "", "differing": [], "values": [], "common": {}, "runs": []}
    if collection is None:
        return empty
    rows = collection.rows
    common, differing, values, places = _settings(collection)
    with_journal = len(rows) and JOURNAL_ROWS // len(rows) >= LEAST_EPOCHS
    journals = _journals(collection, min(MOST_EPOCHS, JOURNAL_ROWS // len(rows))) if with_journal else {}
    first = sorted(range(len(rows)), key=lambda k: (rows[k]["state"] == "done", k))
    logs = {k: found for k in first[:LOGS] if (found := _log(collection.folder / rows[k]["run_id"]))}
    whole = len(rows) <= MOST_RUNS
    runs = [
        {"about": _about(row)}
        | ({"settings": places[k]} if whole else {"settings": []})
        | ({"notes": notes} if (notes := [*row["notes"], *row["damaged"]]) else {})
        | ({"journal": journal} if (journal := journals.get(row["run_id"])) else {})
        | ({"log": logs[k]} if k in logs else {})
        for k, row in enumerate(rows)
    ]
    missing = [
        *([] if whole else ["settings"]),
        *([] if with_journal else ["journals"]),
        *([] if len(rows) <= LOGS else [f"logs of all but {LOGS} runs"]),
    ]
    omitted = f"Of so many runs, {' and '.join(missing)} are not in this page." if missing else ""
    return {"folder": str(collection.folder), "omitted": omitted, "differing": differing, "values": values,
            "common": common, "runs": runs}  # fmt: skip


def as_json(document: Mapping[str, Any]) -> Markup:
    """JSON that may stand in a `<script>`, whatever it holds."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def _about(row: Mapping[str, Any]) -> dict[str, str]:
    epoch = f"{row['epoch']:g} of {row['epochs']}" if row["epoch"] == row["epoch"] else f"– of {row['epochs']}"
    about = {"run": row["run_id"], "state": row["state"], "epoch": epoch}
    return about | {name.replace("_", " "): str(row[name]) for name in _ABOUT if row.get(name) not in ("", None)}


def _settings(collection: Collection) -> tuple[dict[str, str], list[str], list[list[str]], list[list[int | None]]]:
    """What all have in common; in what they differ, the values of each, and which of them each run has."""
    frame = collection.runs
    common: dict[str, str] = {}
    differing: list[str] = []
    values: list[list[str]] = []
    columns: list[list[int | None]] = []
    for name in (name for name in frame.columns if "." in name):
        texts = ["" if _is_missing(value) else _text(value) for value in frame[name].tolist()]
        kinds = {text: place for place, text in enumerate(dict.fromkeys(filter(None, texts)))}
        if len(set(texts)) > 1:
            differing.append(name)
            values.append(list(kinds))
            columns.append([kinds.get(text) for text in texts])
        elif texts and texts[0]:
            common[name] = texts[0]
    return common, differing, values, [[column[k] for column in columns] for k in range(len(frame))]


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _text(value: Any) -> str:
    return shown(value.item() if hasattr(value, "item") else value)


def _journals(collection: Collection, most: int) -> dict[str, dict[str, Any]]:
    """Of each run the epochs, at most so many: columns, rows, and how many epochs there are."""
    frame = collection.epochs()
    frame = frame[frame["blur"].isna()]
    names = [name for name in frame.columns if name not in _BOOKKEEPING and frame[name].dtype.kind in "fi"]
    frame = frame[["run_id", "split", *names]]
    found = {}
    for run_id, own in frame.groupby("run_id", sort=False):
        by_epoch: dict[int, dict[str, float]] = {}
        for row in own.to_dict("records"):
            prefix = "" if row["split"] == "train" else f"{row['split']} "
            values = {f"{prefix}{name}": row[name] for name in names if name != "epoch" and not _is_missing(row[name])}
            by_epoch.setdefault(int(row["epoch"]), {}).update(values)
        columns = list(dict.fromkeys(name for values in by_epoch.values() for name in values))
        epochs = _some(sorted(by_epoch), most)
        rows = [[epoch, *(_number(by_epoch[epoch].get(name)) for name in columns)] for epoch in epochs]
        found[str(run_id)] = {"columns": ["epoch", *columns], "rows": rows, "epochs": len(by_epoch)}
    return found


def _number(value: float | None) -> float | None:
    """Four digits; what JSON has no number for is missing."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _some(epochs: Sequence[int], most: int) -> list[int]:
    """Evenly chosen, with the first and the last."""
    if len(epochs) <= most:
        return list(epochs)
    places = dict.fromkeys(round(k * (len(epochs) - 1) / (most - 1)) for k in range(most))
    return [epochs[place] for place in places]


def _log(path: Path) -> dict[str, Any] | None:
    """The last lines of the newest attempt's log."""
    attempts = Run(path).attempts()
    file = attempts[-1] / "log.txt" if attempts else path / "log.txt"
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(size - LOG_BYTES, 0))
            text = stream.read().decode("utf-8", errors="replace")
    except OSError:  # there is none, or it may not be read
        return None
    lines = text.splitlines()[1 if size > LOG_BYTES else 0 :]
    kept = ["".join(c if c.isprintable() else " " for c in line)[:LOG_LETTERS] for line in lines[-LOG_LINES:]]
    earlier = size > LOG_BYTES or len(lines) > LOG_LINES
    omitted = "Earlier lines" if size > LOG_BYTES else f"{len(lines) - LOG_LINES} lines before them" if earlier else ""
    return {"file": f"attempts/{file.parent.name}/log.txt", "lines": kept, "omitted": omitted} if kept else None
