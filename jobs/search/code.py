"""The environment in which the trials of a search are trained: where it was started, with the user's code as it was."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from blurtrain.parts import parts_named
from blurtrain.settings import part_names
from jobs.search.file import SearchFile
from jobs.search.own_ray import variables
from jobs.snapshot import environment, snapshot, source_of


def parts_of(file: SearchFile) -> set[str]:
    """The user's own parts that trials may need."""
    in_space = parts_named([dimension.model_dump() for dimension in file.search.space.values()])
    return {*part_names(file.base), *in_space}


@contextlib.contextmanager
def environment_of(file: SearchFile, folder: Path) -> Iterator[None]:
    """Variables for a Ray that is started meanwhile, and for all processes below it. A copy of the user's own parts
    goes below `folder`. Raises SettingsError where a part is not found."""
    env = dict(os.environ)
    if file.search.searcher.name == "pbt":  # all are there before the first comparison
        env["TUNE_MAX_PENDING_TRIALS_PG"] = str(file.search.trials)
    if files := source_of(parts_of(file)):
        env |= environment(snapshot(folder, files).resolve())
    with variables(env):
        yield
