"""What a service takes at most, and how it refuses the rest."""

from dataclasses import dataclass

from blurtrain.errors import BlurtrainError


@dataclass(frozen=True)
class Limits:
    """Bounds of memory, disk and time, whoever asks."""

    photo_bytes: int = 30_000_000
    """Of one file."""
    waiting: int = 128
    """Requests that wait for a worker."""
    upload_bytes: int = 500_000_000
    """Of all single photos that are arriving, wait or are worked on, together."""
    batch_photos: int = 5_000
    """Of one batch job."""
    batch_bytes: int = 20_000_000_000
    """Of one batch job."""
    batch_waiting: int = 50_000
    """Photos of all batch jobs that are not answered yet."""
    patience: float = 30.0
    """Seconds that are waited for a request, and for its next bytes; fewer while it arrives at less than ..."""
    slowest: float = 10_000.0
    """... so many bytes a second, and more again, up to `patience`, when it is faster."""
    connections: int = 500
    """Open ones."""


class Refused(BlurtrainError):
    """A request that is answered with an error of HTTP."""

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


class Budget:
    """Bytes that all requests together may hold; for one thread, that of the event loop."""

    def __init__(self, most: int) -> None:
        self.used, self._most = 0, most

    def take(self, count: int) -> None:
        """Raises Refused (503) where there are not so many left."""
        if self.used + count > self._most:
            raise Refused(503, "too much is being sent at once: try again in a moment", 2)
        self.used += count

    def give_back(self, count: int) -> None:
        """So many bytes are no longer held."""
        self.used -= count
