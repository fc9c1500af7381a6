"""Maps and curves that measures keep beside their rows, in the run directories themselves."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from analysis.collecting.evaluations import files_beside
from analysis.documents import RowsForm, outcome_at
from blurtrain.errors import RunError
from blurtrain.evaluation.arrays import read_arrays
from blurtrain.run import Run


@dataclass(frozen=True)
class KeptArrays:
    """What one measure has kept at one level of one run."""

    run_id: str
    conditions: Mapping[str, Any]
    """Under which it was measured: epoch, split, n, ..."""
    level: str
    """As tables call it."""
    arrays: Mapping[str, NDArray[Any]]
    """By name, of the shapes that the measure gives them."""


def kept_arrays(runs: Path, epochs: Mapping[str, int], measure: str) -> Iterator[KeptArrays]:
    """Level by level, of the runs in the order given; measure: as tables call it, with its options.

    epochs: that the runs have, by id. Warns of files that are damaged, and leaves them out.
    """
    for run_id, of_run in epochs.items():
        for kept in files_beside(Run(runs / run_id), measure, ".npz"):
            try:
                outcome, found = outcome_at(kept.with_suffix(".json")), read_arrays(kept)
            except RunError as error:
                warnings.warn(str(error), stacklevel=2)
                continue
            if not isinstance(outcome, RowsForm) or outcome.called != measure:
                continue
            named = outcome.level_names()
            for label, arrays in found.items():
                yield KeptArrays(run_id, outcome.conditions(of_run), named.get(label, label), arrays)
