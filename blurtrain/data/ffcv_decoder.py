"""FFCV's JPEG decoder by itself, without importing FFCV: that takes seconds and hundreds of MB."""

import ctypes
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Decoder = Callable[[bytes, tuple[int, int]], NDArray[np.uint8]]
"""From the bytes of a JPEG file, and its height and width, to its pixels [height, width, 3]."""


def ffcv_decoder() -> Decoder | None:
    """None where FFCV is not installed."""
    spec = importlib.util.find_spec("ffcv")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    libraries = sorted(file for place in places for file in place.glob("_libffcv*.so"))
    if not libraries:
        return None
    try:
        function = ctypes.CDLL(str(libraries[0])).imdecode
    except (OSError, AttributeError):  # what it links to is not there: then FFCV cannot be imported, either
        return None
    number = ctypes.c_uint32
    function.argtypes = [
        ctypes.c_void_p, ctypes.c_uint64, number, number, ctypes.c_void_p, number, number, number, number,
        number, number, ctypes.c_bool, ctypes.c_bool,
    ]  # fmt: skip

    def decode(content: bytes, sides: tuple[int, int]) -> NDArray[np.uint8]:
        pixels = np.zeros((*sides, 3), np.uint8)
        # Whole: from the corner (0, 0), at a scale of 1/1, neither cropped nor mirrored.
        function(content, len(content), *sides, pixels.ctypes.data, *sides, 0, 0, 1, 1, False, False)
        return pixels

    return decode
