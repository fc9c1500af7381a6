"""Frames of videos, decoded by PyAV, which is imported only for them."""

from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from blurtrain.errors import DataError


def frame_at(path: str, time: float) -> Image.Image:
    """The frame that is seen `time` seconds after the beginning of a video, as 8-bit RGB.

    Frames asked for in their order are decoded one after the other, each once. Raises DataError where there is no such
    frame, where it cannot be decoded, and without PyAV; OSError where the file cannot be read.
    """
    return _opened(path, Path(path).stat().st_mtime_ns).at(time)


@lru_cache(maxsize=1)
def _opened(path: str, changed: int) -> "_Video":
    return _Video(path)


class _Video:
    def __init__(self, path: str):
        try:
            import av
        except ImportError:
            raise DataError("frames of videos are decoded by PyAV: `pip install av`") from None
        self._av: Any = av
        self._path = path
        self._begin()

    def _begin(self) -> None:
        """From the first frame on."""
        try:
            container = self._av.open(self._path)
            self._frames = iter(container.decode(video=0))
        except (self._av.FFmpegError, IndexError) as error:
            raise DataError(f"no video: {error}") from None
        self._last, self._next = None, self._following()
        if self._next is None:
            raise DataError("a video without a frame")
        self._first = float(self._next.time or 0)

    def _following(self) -> Any:
        try:
            return next(self._frames, None)
        except self._av.FFmpegError as error:
            raise DataError(f"damaged: {error}") from None

    def at(self, time: float) -> Image.Image:
        if self._last is not None and float(self._last.time) - self._first > time:
            self._begin()
        while self._next is not None and float(self._next.time) - self._first <= time + 1e-6:
            self._last, self._next = self._next, self._following()
        if self._last is None or (self._next is None and time > float(self._last.time) - self._first + 1):
            raise DataError(f"has no frame at {time:g} s")
        image: Image.Image = self._last.to_image()
        return image
