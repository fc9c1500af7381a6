"""Loops over pixels that Numba compiles: on one core, without Python's lock, kept for the processes that come later.

Import it where Numba is installed only (`blurtrain.blur.taps.available`). Nothing is reordered ("fast mathematics" is
off), so that sums are the same for vectors of any width. What a function calls must stand in its own file: Numba looks
at no other to see whether what it has kept is out of date.

Places in arrays are unsigned in the innermost loops: for signed ones Numba asks of each whether it counts from the end,
and then nothing is computed many at a time.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

Function = TypeVar("Function", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def compiled(function: Function) -> Function:
    """`function`, compiled when it is first called, for the types that it is called with."""
    return _compiled(function)


def inlined(function: Function) -> Function:
    """The same for one that others call for every line: it becomes a part of them, as to hand over many arrays takes as
    long as some pixels."""
    return _compiled(function, forceinline=True)


def _compiled(function: Function, **options: Any) -> Function:
    try:
        kept: Function = numba.njit(cache=True, **_OPTIONS, **options)(function)
    except RuntimeError:  # no folder can be written: neither beside the file nor the user's own
        kept = numba.njit(**_OPTIONS, **options)(function)
    return kept
