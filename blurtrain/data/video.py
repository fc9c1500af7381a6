"""Frames of videos, decoded by PyAV, which is imported only for them."""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from blurtrain.errors import DataError

LATE = 1e-6
"""Seconds by which a frame may come later than the time at which it is asked for: times are rounded."""


def frame_at(path: str, time: float) -> Image.Image:
    """The frame that is seen `time` seconds after the beginning of a video, as 8-bit RGB.

    Frames asked for in their order are decoded one after the other, each once. Raises DataError where there is no such
    frame, where it or one before it cannot be decoded, and without PyAV; OSError where the file cannot be read.
    """
    return _opened(path, _changed(path)).at(time)


class Length(NamedTuple):
    """Of a video, by the head of its file, which need not be true."""

    seconds: float
    """0: it does not say."""
    rate: float
    """Frames a second; 0: it does not say."""


def length(path: str) -> Length:
    """How long a video is. Raises as `frame_at` does."""
    av = pyav()
    _changed(path)
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            if stream.duration is not None:
                seconds = float(stream.duration * stream.time_base)
            else:
                seconds = float(container.duration or 0) / 1e6
            return Length(seconds, float(stream.average_rate or 0))
    except (av.FFmpegError, IndexError) as error:
        raise DataError(_reason(error)) from None


def _changed(path: str) -> int:
    stat = Path(path).stat()
    if not stat.st_size:
        raise DataError("empty file")
    return stat.st_mtime_ns


def pyav() -> Any:
    """The library; raises DataError, with how to install it, where it is not there."""
    try:
        import av
    except ImportError:
        raise DataError(
            "frames of videos are decoded by PyAV, which is not installed: `pip install av` (or blurtrain[video])"
        ) from None
    return av


def _reason(error: Exception) -> str:
    # Not the error's own text, which names the file, or a place in memory, too.
    return "no video: it has no pictures" if isinstance(error, IndexError) else f"no video: {error.strerror}"  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _opened(path: str, changed: int) -> "_Video":
    return _Video(path)


class _Frame(NamedTuple):
    frame: Any
    time: float
    """Seconds from the beginning of the video."""


class _Video:
    def __init__(self, path: str):
        self._av: Any = pyav()
        self._path, self._beginning = path, 0.0
        self._begin()

    def _begin(self) -> None:
        """From the first frame on."""
        try:
            container = self._av.open(f"file:{self._path}")
            stream = container.streams.video[0]
        except (self._av.FFmpegError, IndexError) as error:
            raise DataError(_reason(error)) from None
        stream.codec_context.thread_count = 1  # videos are decoded side by side, one a core
        stream.codec_context.options = {"err_detect": "explode"}  # else what is damaged is filled up, and not reported
        self._frames = iter(container.decode(stream))
        self._damage, self._count = "", 0
        self._interval = 1 / float(stream.average_rate) if stream.average_rate else 1.0
        first = self._following()
        if first is None:
            raise DataError(self._damage or "a video without a frame")
        self._last = first
        self._next = self._following()

    def _following(self) -> "_Frame | None":
        """None behind the last frame, and from one on that cannot be decoded."""
        try:
            frame = next(self._frames, None)
        except self._av.FFmpegError as error:
            self._damage = f"damaged: {error.strerror}"
            return None
        if frame is None:
            return None
        if frame.is_corrupt:
            self._damage, self._frames = "damaged", iter(())
            return None
        time = self._count * self._interval if frame.time is None else float(frame.time)
        self._beginning = self._beginning if self._count else time
        self._count += 1
        return _Frame(frame, time - self._beginning)

    def at(self, time: float) -> Image.Image:
        if self._last.time > time + LATE:
            self._begin()
        while self._next is not None and self._next.time <= time + LATE:
            self._last, self._next = self._next, self._following()
        if self._next is None and time - self._last.time > (LATE if self._damage else 1.5 * self._interval):
            ends = self._last.time + self._interval
            raise DataError(self._damage or f"has no frame at {time:.3g} s: it ends at {ends:.3g} s")
        image: Image.Image = self._last.frame.to_image()
        return image
