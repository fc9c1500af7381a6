"""Cores of a node for one trial at a time: Ray counts them, but does not say which."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from blurtrain.files import held


class Slot:
    """The cores of one trial on this node, its own as long as this process lives."""

    def __init__(self, folder: Path, cpus: int):
        """folder: on the node's own disk, the same for all trials of a search. Where none is free, all cores are
        shared."""
        folder.mkdir(parents=True, exist_ok=True)
        available = sorted(os.sched_getaffinity(0))
        count = max(1, len(available) // cpus)
        self.cores: Sequence[int] = available
        self._held = contextlib.ExitStack()
        for k in range(count):
            if self._held.enter_context(held(folder / str(k), patience=0.0)) is not None:
                self.cores = available[k::count]
                return

    def share(self, k: int, of: int) -> list[int]:
        """The cores of one of the trial's runs."""
        return list(self.cores[k::of]) or [self.cores[k % len(self.cores)]]

    def close(self) -> None:
        """Let another trial have them."""
        self._held.close()
