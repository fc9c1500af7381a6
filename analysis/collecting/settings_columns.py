"""Sections of settings as columns by dotted name: `optimisation.learning_rate`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from blurtrain.settings import Settings
from blurtrain.settings.labels import NAMES


@dataclass(frozen=True)
class Column:
    """One setting of many runs, which share a few values."""

    values: Sequence[Any]
    codes: NDArray[np.int64]
    """[runs]: which of `values` each has."""

    def series(self) -> pd.Series:
        """A value a run."""
        return pd.Series(self.values).take(self.codes).reset_index(drop=True)


def settings_columns(sections: Mapping[str, tuple[Sequence[str], NDArray[np.int64]]]) -> dict[str, Column]:
    """Columns by dotted name. sections: by name, the texts (JSON) that there are of it, and which of them each run has.

    Lists, and mappings that a run need not have, are given as JSON text; None where a run has no such setting.
    """
    found: dict[str, Column] = {}
    for name, (texts, codes) in sections.items():
        if name not in NAMES:
            each = [dict(_flat(json.loads(text), name)) for text in texts]
            found |= {path: Column([one.get(path) for one in each], codes)
                      for path in dict.fromkeys(path for one in each for path in one)}  # fmt: skip
    return found


def _flat(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, json.dumps(value) if isinstance(value, list) else value
        return
    if "." in name or Settings.model_fields[name].default is None:
        yield name, json.dumps(value)
    for key, inner in value.items():
        yield from _flat(inner, f"{name}.{key}")
