"""Runs into a tracker, one by one."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

from analysis.collecting.read_settings import SettingsReader
from analysis.trackers.mlflow_tracker import MlflowTracker
from analysis.trackers.tracked_run import TrackedRun, tracked_run
from analysis.trackers.tracker import Tracker, Written, is_address, writable
from analysis.trackers.wandb_tracker import WandbTracker
from blurtrain.errors import BlurtrainError, RunError, SettingsError
from blurtrain.files import held

# By the name of the package that each needs, and of the extra that brings it.
TRACKERS: dict[str, Callable[[str, str], Tracker]] = {"mlflow": MlflowTracker, "wandb": WandbTracker}


def track(
    runs: Iterable[str | Path], to: str, out: str | Path, project: str = "blurtrain"
) -> Iterator[tuple[Path, tuple[TrackedRun, Written] | BlurtrainError]]:
    """Write run directories to one of TRACKERS: what it has not of each; gives what came of each, or why nothing did.

    out: a folder, or, of MLflow, an address. project: of W&B; the experiment of MLflow. Repeated, it adds what has come
    since. Raises SettingsError or RunError where the tracker cannot be used.
    """
    if find_spec(to) is None:
        raise SettingsError(f"{to} is not installed: pip install 'blurtrain[{to}]'")
    reader = SettingsReader()
    with ExitStack() as stack:
        if not is_address(str(out)):
            lock = stack.enter_context(held(writable(Path(out)) / ".lock"))
            if lock is None:
                raise RunError(f"{out}: another process writes to it; start again once it has ended")
        tracker = TRACKERS[to](str(out), project)
        stack.callback(tracker.close)
        for path in map(Path, runs):
            try:
                run = tracked_run(path, reader)
                yield path, (run, tracker.write(run))
            except BlurtrainError as error:
                yield path, error
