"""Weights & Biases, offline: folders of runs for `wandb sync` to send.

Of a run that has grown another folder is written, which holds what is new; `wandb sync` (from 0.31 on) adds it to what
it has sent of that run before.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from glob import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from analysis.trackers.names import tracker_id
from analysis.trackers.tracked_run import Point, TrackedRun
from analysis.trackers.tracker import Written, is_address, not_in, writable
from blurtrain.errors import RunError, SettingsError
from blurtrain.files import read_json, write_json

NOTE = "blurtrain.json"
"""What a folder holds of a run, beside it. The sum of these is kept apart, as `wandb clean` removes what was sent."""
_TAGS = ("dataset", "regime", "model", "seed")
_LONGEST_TAG = 64
_UNFINISHED = ".writing-"
Values = dict[str, dict[str, float]]
"""Numbers by name and, as JSON has it in text, epoch."""


class WandbTracker:
    """Runs of one project, below `wandb/` in a folder."""

    def __init__(self, out: str, project: str):
        """Raises SettingsError where a project cannot be called so, RunError where the folder cannot be written."""
        if is_address(out):
            raise SettingsError(f"--out {out}: W&B is written to a folder, which `wandb sync` sends to its server")
        if not 0 < len(project) <= 128 or set(project) & set("/\\#?%:") or not project.strip("."):
            raise SettingsError(rf"--project {project}: W&B takes 1 to 128 letters, and none of / \ # ? % :")
        self._out, self._project = writable(Path(out)), project
        for path in self._out.glob(f"{_UNFINISHED}*"):  # of a process that was killed
            shutil.rmtree(path, ignore_errors=True)
        os.environ["WANDB_ERROR_REPORTING"] = "false"  # nothing is sent to anybody
        import wandb

        self._wandb: Any = wandb

    def write(self, run: TrackedRun) -> Written:
        """Add what is new of a run, unless it stands just so. Raises RunError where it cannot be written."""
        key = tracker_id(run.run_id)
        kept = self._out / "written" / self._project / f"{key}.json"
        notes = [note for path in (kept, *self._notes(key)) if (note := read_json(path)) and self._is_of(note, run)]
        known = {(name, int(epoch)): value for note in notes for name, own in note["values"].items()
                 for epoch, value in own.items()}  # fmt: skip
        curves, differing = not_in(known, run.curves)
        results, differing_results = not_in(known, run.results)
        written = Written(key, len({p.epoch for p in curves}), len(results), (*differing, *differing_results))
        about = {name: str(value) for name, value in run.about.items()}
        if notes and notes[0]["about"] == about and not curves and not results:
            return written
        note = {"run": run.run_id, "project": self._project, "about": about, "values": _by_name([*curves, *results])}
        try:
            self._add(run, key, curves, note)
            kept.parent.mkdir(parents=True, exist_ok=True)
            everything = [Point(name, epoch, 0.0, value) for (name, epoch), value in known.items()]
            write_json(kept, note | {"values": _by_name([*everything, *curves, *results])})
        except (OSError, self._wandb.Error) as error:
            text = (str(error).strip() or type(error).__name__).splitlines()[0][:300]
            raise RunError(f"{self._out}: W&B cannot write {run.run_id}: {text}") from None
        return written

    def close(self) -> None:
        """End the process that writes."""
        self._wandb.teardown()

    def _is_of(self, note: Mapping[str, Any], run: TrackedRun) -> bool:
        return (note["run"], note["project"]) == (run.run_id, self._project)

    def _notes(self, key: str) -> list[Path]:
        """Of the folders that may be of this run."""
        return sorted((self._out / "wandb").glob(f"offline-run-*-{escape(key)}*/{NOTE}"))

    def _add(self, run: TrackedRun, key: str, curves: Sequence[Point], note: Mapping[str, Any]) -> None:
        """Another folder, which appears whole."""
        place = self._out / "wandb"
        place.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self._out, ignore_cleanup_errors=True) as folder:
            source = self._tracked(run, key, curves, folder)
            write_json(source / NOTE, note)
            target, count = place / source.name, 1
            while target.exists():  # of the same second
                target, count = place / f"{source.name}-{count}", count + 1
            source.rename(target)

    def _tracked(self, run: TrackedRun, key: str, curves: Sequence[Point], folder: str) -> Path:
        """A folder that W&B has just written, somewhere below `folder`."""
        settings = self._wandb.Settings(
            console="off", silent=True, disable_git=True, disable_code=True, x_disable_stats=True, x_disable_meta=True,
            x_disable_machine_info=True, x_save_requirements=False,
        )  # fmt: skip
        tracked = self._wandb.init(
            mode="offline", dir=folder, project=self._project, id=key, name=run.run_id, resume="allow",
            config=run.settings | {"run_id": run.run_id, **run.about},
            tags=[f"{name}={run.about[name]}"[:_LONGEST_TAG] for name in _TAGS], settings=settings,
        )  # fmt: skip
        tracked.define_metric("epoch")
        tracked.define_metric("*", step_metric="epoch")  # steps of W&B only count what was logged
        for epoch, group in groupby(sorted(curves, key=_epoch), key=_epoch):
            own = list(group)
            values = {point.name: point.value for point in own}
            tracked.log({"epoch": epoch, **values, "_timestamp": max(point.time for point in own)})
        tracked.summary.update({point.name: point.value for point in run.results})
        place = Path(tracked.settings.sync_dir)
        tracked.finish(exit_code=int(run.about["state"] == "failed"))
        if not (place / f"run-{key}.wandb").is_file():
            raise RunError(f"{self._out}: W&B has not written {run.run_id}; is the disk full?")
        return place


def _epoch(point: Point) -> int:
    return point.epoch


def _by_name(points: Sequence[Point]) -> Values:
    found: Values = {}
    for point in points:
        found.setdefault(point.name, {})[str(point.epoch)] = point.value
    return found
