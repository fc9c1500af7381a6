"""A service without its routes: the detector, the pool, the jobs, and what they may take."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.requests import Request

from blurtrain.errors import DataError, RunError, SettingsError
from blurtrain.serving.detector import Answer, Detector
from blurtrain.serving.job_folder import Incoming, Job
from blurtrain.serving.jobs import Jobs
from blurtrain.serving.limits import Budget, Limits, Refused
from blurtrain.serving.metrics import Metrics
from blurtrain.serving.photos import KINDS, kind_of
from blurtrain.serving.pool import Full, Pool, cores
from blurtrain.serving.uploads import AROUND, Begin, End, pieces


@dataclass
class Service:
    """What the routes of one process share. Its coroutines raise Refused."""

    detector: Detector | None
    """None: there is no model, and nothing is classified."""
    jobs_folder: Path
    limits: Limits = field(default_factory=Limits)
    keep_days: float = 7.0

    def __post_init__(self) -> None:
        """Raises RunError where another service uses the folder of jobs."""
        self.metrics, self.budget = Metrics(), Budget(self.limits.upload_bytes)
        self.pool = Pool(cores(), self.limits.waiting)
        self.jobs = Jobs(self.jobs_folder, self.detector, self.pool, self.keep_days)
        self._arriving, self._accepting = 0, 0

    def close(self) -> None:
        """End the work on jobs, then the pool."""
        self.jobs.close()
        self.pool.close()

    def ready(self, blur_type: str | None) -> Detector:
        """The detector, if it can answer for this type. Raises Refused where there is none (503), or it cannot
        (422)."""
        if self.detector is None:
            raise Refused(503, "there is no model: start the service with one, blurtrain serve MODEL.onnx")
        try:
            self.detector.check_blur_type(blur_type)
        except SettingsError as error:
            raise Refused(422, str(error)) from None
        return self.detector

    async def classify(self, request: Request, blur_type: str | None) -> Answer:
        """The answer for the one photo of a request. Raises Refused: with a status of 4xx for what cannot be answered,
        with 503 where there is no model or too much to do."""
        detector = self.ready(blur_type)
        with self._holding() as held:
            content = await self._single(request, held)
            if not content:
                raise Refused(422, "the file is empty")
            if kind_of(content) is None:
                raise Refused(415, f"no photo, by its content: it must be {', '.join(KINDS[:-1])} or {KINDS[-1]}")
            try:
                future = self.pool.submit(lambda: detector.classify(content, blur_type))
                return await asyncio.wrap_future(future)
            except Full as error:
                raise Refused(503, str(error), 1) from None
            except DataError as error:
                raise Refused(422, str(error).replace("; --megapixels raises that", "")) from None
            except MemoryError:
                raise Refused(503, "not enough memory for this photo: try again in a moment", 5) from None

    async def _single(self, request: Request, held: "_Held") -> bytes:
        content, files = bytearray(), 0
        async for piece in pieces(request, self.limits, self.limits.photo_bytes + AROUND):
            if isinstance(piece, Begin):
                files += 1
                if files > 1:
                    raise Refused(422, "more than one file: send them to /api/v1/blur/classify/batch")
            elif isinstance(piece, bytes):
                held.take(len(piece))
                content += piece
                self._check_size(len(content))
        if not files:
            raise Refused(422, "no file among the fields of the form: send one, as `curl --form file=@PHOTO` does")
        return bytes(content)

    def _check_size(self, count: int) -> None:
        if count > self.limits.photo_bytes:
            raise Refused(413, f"larger than {self.limits.photo_bytes / 1e6:g} MB")

    @contextlib.contextmanager
    def _holding(self) -> Iterator["_Held"]:
        held = _Held(self.budget)
        try:
            yield held
        finally:
            held.give_back()

    # --- batches ------------------------------------------------------------------------------------------------------

    async def accept(self, request: Request, blur_type: str | None) -> Job:
        """A job of all photos of a request. Those that are empty or too large are answered by an error of their own."""
        self.ready(blur_type)
        self._check_waiting(self._arriving + 1)
        try:
            incoming = await asyncio.to_thread(self.jobs.incoming, blur_type)
            try:
                await self._received(request, incoming)
                return await self._accepted(incoming)
            except BaseException:
                await asyncio.shield(asyncio.to_thread(incoming.abandon))
                raise
        except (OSError, RunError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise Refused(503, f"the batch cannot be kept: {cause}", 60) from None

    def _check_waiting(self, more: int) -> None:
        """Raise Refused where, with so many more photos, too many would wait."""
        if (waiting := self.jobs.unanswered) + more > self.limits.batch_waiting:
            raise Refused(503, f"{waiting} photos of batch jobs wait already: try again later", 60)

    async def _accepted(self, incoming: Incoming) -> Job:
        """Others have arrived since this one began to: so what waits is looked at again."""
        self._check_waiting(self._accepting + incoming.photos)
        self._accepting += incoming.photos
        try:
            return await asyncio.to_thread(self.jobs.accept, incoming)
        finally:
            self._accepting -= incoming.photos

    async def _received(self, request: Request, incoming: Incoming) -> None:
        size, count = 0, 0
        try:
            async for piece in pieces(request, self.limits, self.limits.batch_bytes):
                if isinstance(piece, Begin):
                    if incoming.photos >= self.limits.batch_photos:
                        raise Refused(413, f"more than {self.limits.batch_photos} photos: send several batches")
                    size, count = 0, count + 1
                    self._arriving += 1
                    await asyncio.to_thread(incoming.begin, str(piece))
                elif isinstance(piece, End):
                    await asyncio.to_thread(incoming.end, self._fault(size))
                else:
                    size += len(piece)
                    if size <= self.limits.photo_bytes:
                        await asyncio.to_thread(incoming.write, piece)
            if not count:
                raise Refused(422, "no file among the fields of the form: send some, `curl --form file=@PHOTO ...`")
        finally:
            self._arriving -= count

    def _fault(self, size: int) -> str | None:
        if size > self.limits.photo_bytes:
            return f"larger than {self.limits.photo_bytes / 1e6:g} MB"
        return None if size else "the file is empty"

    def job(self, name: str) -> Job:
        """The job of this id; raises Refused (404) where there is none."""
        if (job := self.jobs.get(name)) is None:
            raise Refused(404, "there is no such job; it may have been removed since it was done")
        return job

    def gauges(self) -> dict[str, tuple[str, float]]:
        """For metrics."""
        found: dict[str, Any] = {
            "blur_model_loaded": ("1 if photos can be classified.", self.detector is not None),
            "blur_workers": ("Threads that look at photos.", self.pool.alive),
            "blur_requests_waiting": ("Single photos that no worker has begun with.", self.pool.waiting),
            "blur_batches_alive": ("1 if batch jobs are worked off.", self.jobs.alive),
            "blur_batch_photos_waiting": ("Photos of batch jobs without an answer.", self.jobs.unanswered),
            "blur_upload_bytes": ("Of single photos, in memory.", self.budget.used),
        }
        return found


class _Held:
    """What one request has taken of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._taken = budget, 0

    def take(self, count: int) -> None:
        self._budget.take(count)
        self._taken += count

    def give_back(self) -> None:
        self._budget.give_back(self._taken)
