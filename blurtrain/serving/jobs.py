"""Batch jobs: kept in a folder, worked off one after the other by the pool that answers requests."""

import errno
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import asdict
from pathlib import Path
from typing import Any

from blurtrain.errors import BlurtrainError, RunError
from blurtrain.files import held
from blurtrain.serving.detector import Detector
from blurtrain.serving.job_folder import Incoming, Job, jobs_in
from blurtrain.serving.pool import Full, Pool

AHEAD = 4
"""Photos a worker that are being looked at, or wait for that, beyond the one whose answer is due."""
RETRY = 10.0
"""Seconds after which an answer is written again for which the disk was full."""
LOOK = 60.0
"""Seconds after which an idle service looks for jobs that have been kept long enough."""
logger = logging.getLogger(__name__)


class Jobs:
    """The jobs of a folder. Several threads may use it; only one process at a time."""

    def __init__(self, root: Path, detector: Detector | None, pool: Pool, keep_days: float = 7.0) -> None:
        """Without a detector jobs are kept, and wait. Jobs are removed `keep_days` after they were done.

        Raises RunError where another service uses this folder, or it cannot be written.
        """
        self.root, self._detector, self._pool, self._keep = root, detector, pool, 86_400 * keep_days
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise RunError(f"{root}: cannot be made: {error.strerror}; choose another --jobs") from None
        self._lock = held(root / ".lock")
        if self._lock.__enter__() is None:
            raise RunError(f"{root}: another service works on these jobs; choose another --jobs")
        found, damaged = jobs_in(root)
        for line in damaged:
            logger.warning("%s", line)
        self._jobs = {job.id: job for job in found}
        self._queue = deque(job for job in found if not job.done)
        self._failures: dict[str, str] = {}
        self._changed, self._stopping = threading.Condition(), False
        self._at: Job | None = None
        self._expire()
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        self._thread.start()

    def incoming(self, blur_type: str | None) -> Incoming:
        """A new job, to be filled and then to `accept`, whose photos are asked for this type of blur; None: for any."""
        return Incoming(self.root, blur_type)

    def accept(self, incoming: Incoming) -> Job:
        """Publish a job and queue it."""
        job = incoming.publish()
        with self._changed:
            self._jobs[job.id] = job
            self._queue.append(job)
            self._changed.notify()
        return job

    def get(self, name: str) -> Job | None:
        """The job of this id, if there is one; one whose files somebody has removed is none."""
        job = self._jobs.get(name)
        return None if job is None or job.gone else job

    def state(self, job: Job) -> str:
        """waiting, running, done or failed."""
        if job.done:
            return "done"
        return "failed" if job.id in self._failures else "running" if job is self._at else "waiting"

    def failure(self, job: Job) -> str | None:
        """Why a job has failed; None: it has not. The next service on this folder tries it again."""
        return self._failures.get(job.id)

    @property
    def alive(self) -> bool:
        """Whether jobs are worked off, or would be."""
        return self._thread.is_alive()

    @property
    def unanswered(self) -> int:
        """Photos of all jobs."""
        with self._changed:
            return sum(job.total - job.answered for job in [*self._queue, *([self._at] if self._at else [])])

    def close(self) -> None:
        """Stop after the answer that is due; the rest is done by the next service on this folder."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._lock.__exit__(None, None, None)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            if (job := self._next()) is not None:
                try:
                    self._work(job)
                except (Full, CancelledError):
                    return  # the pool is closed
                except Exception as error:  # whatever it is, the jobs behind it are worked off
                    self._set_aside(job, error)
            self._expire()

    def _next(self) -> Job | None:
        """The next job; None: stop, or there has been none for a while."""
        with self._changed:
            self._at = None
            self._changed.wait_for(lambda: self._stopping or (self._queue and self._detector is not None), LOOK)
            if self._stopping or not self._queue or self._detector is None:
                return None
            self._at = self._queue.popleft()
            return self._at

    def _set_aside(self, job: Job, error: Exception) -> None:
        """A job that cannot be worked off: tried again where the disk is full, else left to the next service."""
        try:
            if job.gone:
                logger.warning("job %s: somebody has removed its files; it counts as removed", job.id)
                self._forget(job)
                return
            job.recover()
        except OSError as another:
            error = another
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            logger.error("job %s: %s; tried again in %g s", job.id, error, RETRY)
            with self._changed:
                self._queue.append(job)
                self._changed.wait_for(lambda: self._stopping, RETRY)
            return
        self._failures[job.id] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
        logger.error("job %s: has failed, and is tried again at the next start", job.id, exc_info=error)

    def _forget(self, job: Job) -> None:
        with self._changed:
            self._jobs.pop(job.id, None)
            self._failures.pop(job.id, None)
            if job in self._queue:
                self._queue.remove(job)

    def _work(self, job: Job) -> None:
        assert self._detector is not None
        due: deque[tuple[int, str, Future[dict[str, Any]]]] = deque()
        try:
            for index, entry in enumerate(job.entries()):
                if index < job.answered:
                    continue
                work = _Look(self._detector, job, index, entry.get("error"))
                due.append((index, entry["name"], self._pool.submit(work, background=True)))
                if len(due) > AHEAD * self._pool.workers:
                    self._answer(job, *due.popleft())
                if self._stopping:
                    return
            while due and not self._stopping:
                self._answer(job, *due.popleft())
        finally:
            for *_, future in due:
                future.cancel()

    def _answer(self, job: Job, index: int, name: str, future: "Future[dict[str, Any]]") -> None:
        assert self._detector is not None
        job.append({"photo": index, "name": name, "model": self._detector.model, **future.result()})

    def _expire(self) -> None:
        now = time.time()
        for job in list(self._jobs.values()):
            try:
                if job.gone:
                    self._forget(job)
                elif (finished := job.finished) is not None and now - finished > self._keep:
                    self._forget(job)
                    job.remove()
            except OSError as error:  # the others are looked at all the same
                logger.warning("job %s: %s", job.id, error)


class _Look:
    """One photo of a job: its answer, or why there is none."""

    def __init__(self, detector: Detector, job: Job, index: int, error: str | None) -> None:
        self._classify: Callable[..., Any] = detector.classify
        self._job, self._index, self._error = job, index, error

    def __call__(self) -> dict[str, Any]:
        if self._error is not None:
            return {"error": self._error}
        try:
            content = self._job.content(self._index)
            return asdict(self._classify(content, self._job.blur_type, one_core=True))
        except BlurtrainError as error:
            return {"error": str(error)}
        except Exception as error:  # whatever it is, the photos behind it have their answers
            logger.exception("job %s, photo %d", self._job.id, self._index)
            return {"error": f"cannot be looked at: {type(error).__name__}"}
