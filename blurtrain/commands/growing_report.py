"""A report that is written again as runs of a grid end: `grid submit --wait --report DIR`."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from blurtrain.errors import BlurtrainError

PAUSES = 9
"""A report is followed by a pause of so many times as long as it took: a tenth of one core at most."""


class GrowingReport:
    """The report of the folder `runs` in the folder `out`; `say` gets a line each time that it was written."""

    def __init__(self, runs: Path, out: Path, say: Callable[[str], Any]):
        self.runs, self.out, self.say = runs, out, say
        self.page = out / "index.html"
        self._written: Sequence[str] = ()
        """Ids and states of the runs, as the report on the disk has them."""
        self._done, self._not_before = 0, 0.0

    def look(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write it if more of the rows of a grid (`jobs.states.states`) are done, and the last time is long enough ago.

        What keeps it from being written is said in a line: training goes on.
        """
        if time.monotonic() >= self._not_before:
            try:
                self._write(rows)
            except BlurtrainError as error:
                self.say(f"report: {error}")

    def finish(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write it with all that is done now; raises RunError where it cannot be written."""
        self._write(rows, at_the_end=True)

    def _write(self, rows: Sequence[Mapping[str, Any]], at_the_end: bool = False) -> None:
        states = [f"{row['run_id']} {row['state']}" for row in rows]
        done = sum(row["state"] == "done" for row in rows)
        if not done or (states == self._written if at_the_end else done <= self._done):
            return
        import analysis

        began = time.monotonic()
        try:
            analysis.report(self.runs, self.out)
            self._written, self._done = states, done
        finally:
            self._not_before = time.monotonic() + PAUSES * (time.monotonic() - began)
        self.say(f"report of {done} of {len(rows)} runs: {self.page}")
