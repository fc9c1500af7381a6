"""A trial at work, in an actor of Ray: its runs as processes side by side, and what they report.

A run is trained as any other is: by `blurtrain train`, in its run directory, under its lock. Ray is told numbers only.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ray import tune

from blurtrain.errors import REQUEUE, JobError
from blurtrain.files import held
from blurtrain.run import Run, slurm_job
from blurtrain.trials import Study, mean_of
from jobs import scheduler
from jobs.grid import Member
from jobs.item import training
from jobs.processes import RunProcesses, start
from jobs.record import Record, killed_by, last_line
from jobs.search.file import SearchFile
from jobs.search.known import measuring
from jobs.search.slots import Slot

POLL_SECONDS = 0.1
ASKED = {REQUEUE, *(128 + s for s in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2))}
"""Exit codes of a training that was asked to stop: in good order, or so early that there was nothing to save yet."""
AGAIN_SECONDS = 20.0
"""So long it waits for the search to be stopped as well; then it goes on."""
IDLE_SECONDS = 5.0
"""Ray asks for the next step at once; when it has not for so long, the trial was stopped."""
ASK_AGAIN_SECONDS = 10.0
"""So often SLURM is asked whether a job lives that is at a run of ours."""
SAVE_SECONDS = 120.0
"""So long the runs of a trial that is stopped may take to save."""


@dataclass(frozen=True)
class Work:
    """What all trials of a search have in common."""

    file: SearchFile
    runs: Path
    cpus: int
    """Of one run."""
    gpus: int
    """Of one run; its processes are as many, at least one."""

    @property
    def study(self) -> Study:
        """The search's folder."""
        return Study.of(self.file, self.runs)

    @property
    def epochs(self) -> int:
        """Of each run, as the base settings say."""
        return self.file.base.optimisation.epochs


class RunAtWork:
    """One run of a trial: waited for where somebody else is at it, trained else."""

    def __init__(self, member: Member, work: Work, cores: Sequence[int], gpus: Sequence[str] | None):
        self.member, self.work, self.cores, self.gpus = member, work, cores, gpus
        self.run = Run(work.runs / member.run_id)
        self.error, self._read, self._values = "", tuple[object, ...](), dict[int, float]()
        self.done = self._is_over()
        self.processes: RunProcesses | None = None
        self._lock = contextlib.ExitStack()
        self._not_before = self._ask_again = 0.0

    def poll(self) -> None:
        """Start it, or see how it stands: `done`, or `error`."""
        if self.done or self.error:
            return
        if self.processes is None:
            if time.monotonic() > self._not_before:
                self._begin()
        elif (code := self.processes.poll()) is not None:
            self._lock.close()
            self.done = self._is_over()
            if not self.done and code in ASKED:
                # By SLURM, or by hand: either the search is about to be stopped as well, or the run goes on.
                self.processes, self._not_before = None, time.monotonic() + AGAIN_SECONDS
            elif not self.done:
                self.error = self._why(code)

    def _is_over(self) -> bool:
        """Whether it is done, and all that can be known of its objective is known."""
        return self.run.result() is not None and not measuring(self.work.file, self.run)

    def _begin(self) -> None:
        locks = self.work.runs / ".local" / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        lock: IO[bytes] | None = self._lock.enter_context(held(locks / self.run.id, patience=0.0))
        self.done = self._is_over()
        if lock is None or self.done or (self.run.beats() and not self._job_is_gone()):
            self._lock.close()  # somebody else trains it, or has; Ray is told what they reach
            return
        self.processes = start(
            self._command(),
            cores=self.cores,
            gpus=self.gpus,
            world=max(1, self.work.gpus),
            log=self.work.study.log(self.run.id),
            lock=lock,
            env=os.environ,
        )

    def _job_is_gone(self) -> bool:
        """Whether the newest attempt was made by a SLURM job that has ended since, or by a former start of our own: its
        heartbeat may stay fresh for a minute after a process was killed on another node."""
        if time.monotonic() < self._ask_again:
            return False
        self._ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        job = Record.of(self.run).job
        try:
            return bool(job) and (job == slurm_job() or scheduler.show(job).get("JobState") not in scheduler.LIVING)
        except JobError:
            return False

    def _command(self) -> list[str]:
        """What is done to it next: it is trained, or measured."""
        item = training(self.member, self.work.runs)
        return measuring(self.work.file, self.run) or item.words(self.work.study.folder / "settings")

    def _why(self, code: int) -> str:
        if killed := killed_by(code):
            return f"{self.run.id}: {killed}"
        said = Record.of(self.run).error or last_line(self.work.study.log(self.run.id)).removeprefix("blurtrain: ")
        return f"{self.run.id}: {said or f'ended with {code}'}"

    def values(self) -> dict[int, float]:
        """The objective by epoch, as far as it is known; read again where a journal has grown, or the run is over."""
        journals = (attempt / "journal.jsonl" for attempt in self.run.attempts())
        read = (self.done, *(journal.stat().st_size for journal in journals if journal.exists()))
        if read != self._read:
            self._read, self._values = read, self.work.file.search.objective.values(self.run)
        return self._values

    def stop(self) -> None:
        """Let it save, and end."""
        if self.processes is not None and self.processes.poll() is None:
            self.processes.stop(SAVE_SECONDS)
        self._lock.close()


class TrialAtWork(tune.Trainable):
    """All runs of one trial. A step is over when all have come to the next epoch with a value.

    An actor is used for one trial after the other, since to start one takes longer than many a decision.
    """

    kind: type[RunAtWork] = RunAtWork

    def _members(self, config: dict[str, Any]) -> Sequence[Member]:
        return self.work.file.members(config["flat"])

    def setup(self, config: dict[str, Any]) -> None:
        """config: work; number; flat, the trial's point; reported, the epoch that Ray knows of already."""
        self._at_runs = threading.Lock()
        self._idle: threading.Timer | None = None
        self._begin(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Leave the trial that this actor was at, for another."""
        self.cleanup()
        self._begin(new_config)
        return True

    def _begin(self, config: dict[str, Any]) -> None:
        self.given = config
        self.work: Work = config["work"]
        self.number: int = config["number"]
        self.reported: int = config["reported"]
        self.last: dict[str, Any] = {}
        members = self._members(config)
        self.slot = Slot(Path(os.environ["RAY_TMPDIR"]) / "slots", self.work.cpus * len(members))
        gpus = [g for g in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
        each = self.work.gpus
        self.runs = [
            self.kind(
                member,
                self.work,
                self.slot.share(k, len(members)),
                gpus[k * each : (k + 1) * each] if each else None if not gpus else (),
            )
            for k, member in enumerate(members)
        ]
        self.left = False

    def step(self) -> dict[str, Any]:
        """The next epoch with its objective; or what the trial failed of."""
        if self._idle is not None:
            self._idle.cancel()
        with self._at_runs:
            if self.left:  # Ray has taken long to come back
                self._begin({**self.given, "reported": self.reported})
            result = self._next()
        self._idle = threading.Timer(IDLE_SECONDS, self._leave)
        self._idle.daemon = True
        self._idle.start()
        return result

    def _next(self) -> dict[str, Any]:
        while True:
            for run in self.runs:
                run.poll()
            if error := next((run.error for run in self.runs if run.error), ""):
                self._stop()
                return self._result(failed=error, finished=True)
            found = mean_of([(run.values(), run.done) for run in self.runs])
            ended = all(run.done for run in self.runs)
            later = sorted(epoch for epoch in found if epoch > self.reported)
            if later and (ended or later[0] < self.work.epochs):
                self.reported = later[0]
                return self._result(objective=found[later[0]], finished=ended and len(later) == 1)
            if ended and found:
                self.reported = max(found)
                return self._result(objective=found[self.reported], finished=True)
            if ended:
                return self._result(failed=f"{self.runs[0].run.id}: never reported the objective", finished=True)
            time.sleep(POLL_SECONDS)

    def _result(self, **values: Any) -> dict[str, Any]:
        """`finished` says that the trial has come to its own end; Ray sets `done` of those that it stops as well."""
        self.last = values
        return {"epoch": self.reported, **values, "done": bool(values.get("finished"))}

    def cleanup(self) -> None:
        """Stop what still runs."""
        if self._idle is not None:
            self._idle.cancel()
        self._leave()

    def _leave(self) -> None:
        """The trial is over for this actor: by itself, or because Ray or the user has stopped it. Ray does not tell an
        actor that it keeps for the next trial; it does not ask for the next step, which is what `_idle` waits for."""
        with self._at_runs:
            if self.left:
                return
            self._stop()
            # Unless the whole search is being stopped, it was this trial, by the scheduler.
            if not self.last.get("finished") and not self.work.study.is_marked(self.work.study.stopping):
                self._mark_pruned()
            self.slot.close()
            self.left = True

    def _mark_pruned(self) -> None:
        value = self.last.get("objective", math.nan)
        message = f"pruned after epoch {self.reported} of {self.work.epochs}: {value:.4g}"
        for run in self.runs:
            if not run.done:
                run.run.mark_pruned(self.work.file.id, self.number, self.reported, message)

    def _stop(self) -> None:
        for run in self.runs:  # asked first, so that they save side by side
            for process in run.processes.processes if run.processes else ():
                process.terminate()
        for run in self.runs:
            run.stop()

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing is Ray's to keep: the run directories hold it all."""
        return {"reported": self.reported}

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""
        self.reported = checkpoint["reported"]
