"""A run directory: what training writes, and what status, tuning and analysis read. Nothing here needs torch.

    <runs>/<run id>/
        settings.yaml             fully resolved, written once
        attempts/0001/            one folder an attempt: journal.jsonl, heartbeat.json, log.txt,
                                  settings.yaml and origin.json (what it was started with); pruned.json, where a search
                                  stopped it for good
        checkpoints/              see blurtrain.training.checkpoint
        evaluations/              <measure>-<hash>.json, also the cache of measures
        weights.safetensors       the final epoch
        best.safetensors          the best one on the val split, where asked for
        result.json               published last; its presence means done
        calibration.json          temperature of its probabilities, by `blurtrain detector calibrate`
        tensorboard/

Several machines may look at it over NFS, so files appear whole (written beside, fsynced, renamed), an attempt's number
is claimed by mkdir, the settings and the result are published by an exclusive link, and no clock is compared.
"""

import contextlib
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blurtrain import __version__
from blurtrain.errors import BlurtrainError, RunError, Stopped, Superseded, nearest
from blurtrain.files import link, publish, publish_once, read_json, sha256_of, unwritable, write_json
from blurtrain.journal import events, history
from blurtrain.log_file import LogFile
from blurtrain.parts import source_hash
from blurtrain.settings import DEFAULT_MODEL, Settings, dump, load_resolved, part_names

STALE_SECONDS = 60.0
"""A heartbeat older than this means that its process is gone or stuck."""


@dataclass(frozen=True)
class Run:
    """A run directory, by its path."""

    path: Path

    @property
    def id(self) -> str:
        """The name of its directory."""
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        """The folder of what training goes on from, and of the weights of `stage`."""
        return self.path / "checkpoints"

    @property
    def evaluations(self) -> Path:
        """The folder of what evaluations have measured."""
        return self.path / "evaluations"

    @property
    def calibration(self) -> Path:
        """The temperature that calibrates probabilities, {"temperature": ...}, where one has been fitted."""
        return self.path / "calibration.json"

    @property
    def weights(self) -> Path:
        """Weights after the last epoch."""
        return self.path / "weights.safetensors"

    @property
    def best(self) -> Path:
        """Weights of the epoch that was the best on the val split, where `validation.keep_best` asks for them."""
        return self.path / "best.safetensors"

    def stage(self, epoch: int) -> Path:
        """Weights after so many epochs, of those that `checkpoints.keep_epochs` names."""
        return self.checkpoints / f"epoch-{epoch:04d}.safetensors"

    @property
    def settings(self) -> Settings:
        """The settings as they were when the run was first begun."""
        return load_resolved(self.path / "settings.yaml")

    @classmethod
    def begin(cls, runs: Path, run_id: str, settings: Settings) -> "Run":
        """The run directory of `run_id`, made if it is not there yet. Raises RunError where it cannot be written."""
        run = cls(runs / run_id)
        try:
            for folder in (run.path / "attempts", run.checkpoints, run.evaluations):
                folder.mkdir(parents=True, exist_ok=True)
            if not (run.path / "settings.yaml").exists():
                publish_once(run.path / "settings.yaml", dump(settings))
        except OSError as error:
            raise RunError(f"{run.path}: cannot be written: {error.strerror}; choose another --runs") from None
        return run

    def result(self) -> dict[str, Any] | None:
        """What `finish` published; None while the run is not done."""
        return read_json(self.path / "result.json")

    def finish(self, result: dict[str, Any]) -> bool:
        """Declare the run done, and note the SHA-256 of its weights. Only the first to do so counts."""
        files = [self.weights, self.best, *map(self.stage, self.kept_epochs())]
        hashes = {str(path.relative_to(self.path)): sha256_of(path) for path in files if path.exists()}
        return publish_once(
            self.path / "result.json", json.dumps(result | ({"sha256": hashes} if hashes else {}), indent=1)
        )

    def attempts(self) -> list[Path]:
        """Folders of the attempts, oldest first."""
        return sorted(p for p in (self.path / "attempts").glob("[0-9]*") if p.is_dir())

    def epoch_checkpoint(self, epoch: int) -> Path:
        """The whole state after so many epochs, for other runs to start from (see `keep_epoch`)."""
        return self.checkpoints / f"epoch-{epoch:04d}.pt"

    def keep_epoch(self, epoch: int) -> str:
        """Keep the checkpoint of a run that is paused after `epoch` epochs for good, as `epoch_checkpoint(epoch)`;
        returns its SHA-256, as settings `start` has it.

        Where it is kept already, that is all; raises RunError where it is not, and the run is not paused there.
        """
        kept = self.epoch_checkpoint(epoch)
        if not kept.exists():
            paused = {e["at"] for e in self.journal() if e["event"] == "paused" and e["epoch"] == epoch}
            newest = [p for p in saved_checkpoints(self.checkpoints) if saved_step(p) == self.saved_step()]
            if len(newest) != 1 or saved_step(newest[0]) not in paused:
                raise RunError(f"{self.path}: is not paused after epoch {epoch}: train it with --until-epoch {epoch}")
            link(kept, newest[0])
        return sha256_of(kept)

    def data_id(self) -> str | None:
        """The id of the data that it was trained on; None where neither result nor attempts say it any more."""
        documents = [self.result(), *(read_json(folder / "origin.json") for folder in self.attempts())]
        return next((d["data_id"] for d in documents if isinstance(d, dict) and "data_id" in d), None)

    def saved_step(self) -> int:
        """The step of the newest checkpoint, by its name; 0 if there is none."""
        return next(map(saved_step, saved_checkpoints(self.checkpoints)), 0)

    def kept_epochs(self) -> list[int]:
        """The epochs whose weights were kept for good (see `stage`), in ascending order."""
        return sorted(int(found[1]) for path in self.checkpoints.glob("*") if (found := _STAGE.fullmatch(path.name)))

    def beats(self) -> bool:
        """Whether the newest attempt has a fresh heartbeat, and its process is there (if it is one of this machine)."""
        attempts = self.attempts()
        try:
            if self.heartbeat().get("ended"):
                return False
            beat = (attempts[-1] / "heartbeat.json").stat().st_mtime
            # The age of a heartbeat by the clock of the file system that both files lie on.
            with tempfile.NamedTemporaryFile(dir=attempts[-1], prefix=".now-") as now:
                if os.fstat(now.fileno()).st_mtime - beat > STALE_SECONDS:
                    return False
        except (IndexError, OSError):
            return False
        origin = read_json(attempts[-1] / "origin.json") or {}
        return origin.get("host") != os.uname().nodename or Path(f"/proc/{origin.get('pid')}").exists()

    def heartbeat(self) -> dict[str, Any]:
        """What the newest attempt last said of its progress; empty where there is none."""
        attempts = self.attempts()
        return (read_json(attempts[-1] / "heartbeat.json") if attempts else None) or {}

    def new_attempt(self, settings: Settings, data_id: str) -> "Attempt":
        """Begin the next attempt; from now on, older ones may not write. `settings` says how this one was started."""
        number = int(self.attempts()[-1].name) + 1 if self.attempts() else 1
        while True:
            folder = self.path / "attempts" / f"{number:04d}"
            try:
                folder.mkdir()
                return Attempt(self, number, settings, data_id)
            except FileExistsError:
                number += 1

    def mark_pruned(self, search: str, trial: int, epoch: float, message: str) -> bool:
        """Note that a search has stopped its newest attempt, after `epoch` epochs, since others promise more; whether
        there was one. A later attempt is not pruned, unless it is marked anew. Raises RunError where it cannot be
        written."""
        attempts = self.attempts()
        if attempts:
            write_json(attempts[-1] / PRUNED, {"search": search, "trial": trial, "epoch": epoch, "message": message})
        return bool(attempts)

    def pruned(self) -> dict[str, Any] | None:
        """What `mark_pruned` noted of the newest attempt."""
        attempts = self.attempts()
        return read_json(attempts[-1] / PRUNED) if attempts else None

    def journal(self, steps: bool = True) -> Iterator[dict[str, Any]]:
        """The events of all attempts as one history: steps that a later attempt did again are left out.

        "start", "step" and "epoch" say `at` which step of the run they stand. An epoch is logged after its last step
        has been saved, so that it may be logged again. `steps` False: without "step", which most of them are.
        """
        yield from history([folder / "journal.jsonl" for folder in self.attempts()], steps)

    def last_event(self) -> dict[str, Any] | None:
        """Of the newest attempt."""
        attempts = self.attempts()
        return next(reversed(list(events(attempts[-1] / "journal.jsonl"))), None) if attempts else None

    def threads(self) -> int:
        """Threads that the first attempt computed with (0: not begun); others give other rounding, so they are kept."""
        starts = (e for folder in self.attempts() for e in events(folder / "journal.jsonl") if e["event"] == "start")
        return int(next(starts, {}).get("threads", 0))

    def evaluation(self, measure: str, key: str) -> Path:
        """File of one measure's outcome, taken under the settings that `key` is a hash of."""
        return self.evaluations / f"{measure}-{key}.json"


PRUNED = "pruned.json"
_CHECKPOINT = re.compile(r"step-\d{8,}-[\da-f]{16}\.pt")
_STAGE = re.compile(r"epoch-(\d{4,})\.safetensors")


def saved_checkpoints(folder: Path) -> list[Path]:
    """What trainings have saved there, by its names, newest first; whatever else lies there is left alone."""
    found = [path for path in folder.glob("step-*.pt") if _CHECKPOINT.fullmatch(path.name) and path.is_file()]
    return sorted(found, key=saved_step, reverse=True)


def saved_step(checkpoint: Path) -> int:
    """The step after which a checkpoint was saved, by its name."""
    return int(checkpoint.name.split("-")[1])


def find(runs: Path) -> list[Run]:
    """All run directories below `runs`, by name; raises RunError if there is no such folder."""
    if not runs.is_dir():
        raise RunError(f"{runs}: no such folder; --runs names the folder that holds the run directories")
    return [Run(p.parent) for p in sorted(runs.glob("*/settings.yaml"))]


def runs_at(path: Path) -> list[Path]:
    """`path` itself, or, where it is a folder that is no run, the run directories in it; raises RunError if there are
    none, or no such run beside others."""
    if not path.exists() and (others := [run.parent.name for run in path.parent.glob("*/settings.yaml")]):
        raise RunError(f"{path}: no such run; {nearest(path.name, others)}")
    if not path.is_dir() or (path / "settings.yaml").exists():
        return [path]
    if found := [run.path for run in find(path)]:
        return found
    raise RunError(f"{path}: is no run directory, and holds none")


def existing(runs: Path) -> set[str]:
    """The names of what lies in the folder of runs; nothing where there is no such folder."""
    try:
        return {path.name for path in runs.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def former_id(run_id: str, settings: Settings) -> str:
    """The id that this run had before models took their name from a network that is given alone: all such runs were
    called by the default's name. The hash, and so the run, is the same."""
    names, digest = run_id.rsplit(f"-{settings.model}-s{settings.seed}-", 1)
    return f"{names}-{DEFAULT_MODEL}-s{settings.seed}-{digest}"


def as_begun(run_id: str, settings: Settings, names: Container[str]) -> tuple[str, Settings]:
    """The id and settings under which this run was begun, where `names` lie in its folder of runs (see `existing`): the
    former ones (see `former_id`) if only those are there."""
    former = former_id(run_id, settings)
    if run_id in names or former not in names:
        return run_id, settings
    return former, settings.model_copy(update={"model": DEFAULT_MODEL})


RENDEZVOUS = "BLURTRAIN_RENDEZVOUS"
"""The variable by which a launcher gives the processes that it starts together a word that no others have."""


def slurm_job() -> str:
    """The SLURM job that this process belongs to, as 12 or, a task of an array, 12_3; empty where there is none."""
    e = os.environ
    if "SLURM_ARRAY_TASK_ID" in e:
        return f"{e['SLURM_ARRAY_JOB_ID']}_{e['SLURM_ARRAY_TASK_ID']}"
    return e.get("SLURM_JOB_ID", "")


class Attempt:
    """One process (or group of processes, through its rank 0) at work on a run. Every write first looks for a newer
    attempt and raises Superseded if there is one."""

    def __init__(self, run: Run, number: int, settings: Settings, data_id: str):
        self.run, self.number = run, number
        self.path = run.path / "attempts" / f"{number:04d}"
        self._sequence, self._progress = 0, dict[str, Any]()
        self._journal = (self.path / "journal.jsonl").open("a")
        self._log = LogFile(self.path / "log.txt")
        publish(self.path / "settings.yaml", dump(settings))
        write_json(
            self.path / "origin.json",
            {
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "job": slurm_job(),
                "data_id": data_id,
                "version": __version__,
                "sources": {name: source_hash(name) for name in part_names(settings)},
                "command": sys.argv,
            },
        )

    def changed_sources(self) -> list[str]:
        """The user's own parts whose source is another than in the attempt before."""
        before = [folder for folder in self.run.attempts() if int(folder.name) < self.number]
        if not before:
            return []
        then, now = ((read_json(f / "origin.json") or {}).get("sources", {}) for f in (before[-1], self.path))
        return [name for name in now if then.get(name, now[name]) != now[name]]

    def check(self) -> None:
        """Raise Superseded if a newer attempt has begun, RunError if the run has been removed."""
        attempts = self.run.attempts()
        if not attempts:
            raise RunError(f"{self.run.path}: has been removed while it was being trained")
        newest = int(attempts[-1].name)
        if newest > self.number:
            raise Superseded(f"{self.run.path}: attempt {newest} has taken over from attempt {self.number}")

    def record(self, event: str, **values: Any) -> None:
        """Append one event to the journal, safely on disk, with the `time` by the clock of this machine (ISO 8601,
        UTC), which is for readers alone."""
        self.check()
        self._append(event, **values)

    def _append(self, event: str, **values: Any) -> None:
        try:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._journal.write(json.dumps({"event": event, **values, "time": now}) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
        except OSError as error:
            raise unwritable(self.path / "journal.jsonl", error) from error

    def beat(self, **progress: Any) -> None:
        """Renew the heartbeat: `sequence` grows as long as this attempt lives."""
        self.check()
        self._sequence += 1
        self._progress = progress
        publish(self.path / "heartbeat.json", json.dumps({"sequence": self._sequence, **progress}))

    def fail(self, error: BaseException) -> None:
        """Note why this attempt ends; never raises, so that the cause itself gets through."""
        # Into the log alone: on the terminal a mistake is one line, and a bug brings its own traceback.
        self._log.handle(logging.makeLogRecord({
            "levelname": "ERROR", "msg": f"attempt {self.number} ends",
            "exc_info": (type(error), error, error.__traceback__),
        }))  # fmt: skip
        event = "stopped" if isinstance(error, Stopped) else "failed"
        if isinstance(error, Superseded):  # which this journal alone says; all else is the newer one's
            event = "superseded"
        with contextlib.suppress(OSError, BlurtrainError):
            if event != "superseded":
                self.check()
            self._append(event, error=type(error).__name__, message=str(error))

    def close(self) -> None:
        """Close the journal and the log, and let the heartbeat say that it was the last."""
        with contextlib.suppress(OSError, BlurtrainError):
            self.beat(**{**self._progress, "ended": True})
        for file in (self._log, self._journal):
            with contextlib.suppress(OSError):  # what a full disk has not taken
                file.close()
