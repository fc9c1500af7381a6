"""Batch jobs: kept in a folder, worked off one after the other by the pool that answers requests."""

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
"""Seconds after which an answer is written again that could not be (a full disk, say)."""
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
        self._expire()
        self._queue = deque(job for job in found if not job.done)
        self._changed, self._stopping = threading.Condition(), False
        self._at: Job | None = None
        self._thread = threading.Thread(target=self._run, name="jobs", daemon=True)
        if detector is not None:
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
        """The job of this id, if there is one."""
        return self._jobs.get(name)

    def state(self, job: Job) -> str:
        """waiting, running or done."""
        return "done" if job.done else "running" if job is self._at else "waiting"

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
        while (job := self._next()) is not None:
            try:
                self._work(job)
                self._expire()
            except (Full, CancelledError):
                return  # the pool is closed
            except Exception as error:  # a full disk: what is not answered stays, and is tried again
                logger.error("job %s: %s; tried again in %g s", job.id, error, RETRY)
                with self._changed:
                    self._changed.wait_for(lambda: self._stopping, RETRY)
                    self._queue.appendleft(job)
                job.recover()

    def _next(self) -> Job | None:
        """The next job; None: stop."""
        with self._changed:
            self._at = None
            self._changed.wait_for(lambda: self._queue or self._stopping)
            if self._stopping:
                return None
            self._at = self._queue.popleft()
            return self._at

    def _work(self, job: Job) -> None:
        assert self._detector is not None
        due: deque[tuple[int, str, Future[dict[str, Any]]]] = deque()
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

    def _answer(self, job: Job, index: int, name: str, future: "Future[dict[str, Any]]") -> None:
        assert self._detector is not None
        job.append({"photo": index, "name": name, "model": self._detector.model, **future.result()})

    def _expire(self) -> None:
        now = time.time()
        for job in list(self._jobs.values()):
            if (finished := job.finished) is not None and now - finished > self._keep:
                del self._jobs[job.id]
                job.remove()


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
