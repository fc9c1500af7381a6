"""Names over many items as codes: each distinct value is looked at once."""

import contextlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.literature import DATASETS, REGIMES, study_order

Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Codes:
    """One name over many items: each has one of `values`, by its place in it."""

    values: Sequence[Any]
    codes: Ints

    def fits(self, wanted: Any, where: Any = slice(None)) -> Bools:
        """Which of the items (`where`: of these) have a value that is `wanted`."""
        each = np.fromiter((is_wanted(value, wanted) for value in self.values), dtype=bool, count=len(self.values))
        return np.asarray(each[self.codes[where]])

    def value(self, item: int) -> Any:
        """That of one item."""
        return self.values[self.codes[item]]

    def take(self, places: Ints) -> "Codes":
        """The items at these places alone."""
        return Codes(self.values, self.codes[places])

    @classmethod
    def of(cls, values: Any) -> "Codes":
        """Of a sequence, or a column of Arrow."""
        if isinstance(values, pa.ChunkedArray):
            whole = values.combine_chunks()
            if pa.types.is_dictionary(whole.type):
                return cls(whole.dictionary.to_pylist(), whole.indices.to_numpy())
            items = whole.to_numpy(zero_copy_only=False)
            if len(items) and (items == items[0]).all():  # so are most conditions, and this is far faster
                return cls(items[:1].tolist(), np.zeros(len(items), np.int64))
            codes, distinct = pd.factorize(items, use_na_sentinel=False)
            return cls(distinct.tolist(), codes)
        known: dict[Any, int] = {}
        distinct_values: list[Any] = []
        codes = np.empty(len(values), dtype=np.int64)
        for k, value in enumerate(values):
            key = repr(value) if isinstance(value, list | dict | float | bool) else value
            if key not in known:
                known[key] = len(distinct_values)
                distinct_values.append(value)
            codes[k] = known[key]
        return cls(distinct_values, codes)


def is_wanted(given: Any, wanted: Any) -> bool:
    """Whether a value is `wanted`: that value, or any of several, but a list has to be equal to it."""
    if isinstance(wanted, list) and not isinstance(given, list):
        return any(is_wanted(given, one) for one in wanted)
    if isinstance(given, float) and math.isnan(given):
        return isinstance(wanted, float) and math.isnan(wanted)
    return (type(given) is type(wanted) and given == wanted) or (_number(given) and _number(wanted) and given == wanted)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def combined(several: Sequence[Codes]) -> Ints:
    """One number for each combination of values, by item."""
    codes = np.zeros(len(several[0].codes), dtype=np.int64)
    size = 1
    for one in several:
        if len(one.values) < 2:
            continue
        codes, size = codes * len(one.values) + one.codes, size * len(one.values)
        if size > 2**40:
            distinct, codes = np.unique(codes, return_inverse=True)
            size = len(distinct)
    return codes


def split(places: Ints, codes: Ints) -> dict[int, Ints]:
    """The places that have each of the codes, in order; `codes` are of all items."""
    own = codes[places]
    order = np.argsort(own, kind="stable")
    ordered = own[order]
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    parts = np.split(places[order], cuts)
    return {int(codes[part[0]]): part for part in parts if len(part)}


def natural(name: str, value: Any) -> tuple[Any, ...]:
    """Sort key: the study's datasets and regimes in its order, blurs by sigma, numbers, and 4 before 10 in words."""
    if name in ("dataset", "regime"):
        return (0, *study_order(DATASETS if name == "dataset" else REGIMES)(str(value)))
    if name == "blur":
        return _by_blur(str(value))
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return (2,)
    if _number(value):
        return (0, value)
    return (1, *_words(str(value)))


def _by_blur(label: str) -> tuple[Any, ...]:
    if label == "sharp":
        return (0, 0.0)
    with contextlib.suppress(ValueError):
        return (0, float(label.removeprefix("gaussian-")))
    return (1, *_words(label.partition("@")[0]), *_words(label))


def _words(text: str) -> list[tuple[bool, int, str]]:
    """Sort key: 4 before 10."""
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", text)]
