"""Colours and bars for a terminal; no colours where nobody looks: piped, in a dumb terminal, or with NO_COLOR set."""

import os
import sys
from typing import TextIO

_STYLES = {"good": "32", "bad": "31", "busy": "36", "odd": "33", "faint": "2"}
_CLEAR = "\x1b[H\x1b[2J"
_PARTS = " ▏▎▍▌▋▊▉"
_HEIGHTS = "▁▂▃▄▅▆▇█"


def is_coloured(stream: TextIO) -> bool:
    """Whether this stream is to have colours (https://no-color.org)."""
    return _is_terminal(stream) and not os.environ.get("NO_COLOR")


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def redraw(text: str) -> None:
    """Print on stdout in place of what a terminal shows; below it where it is piped."""
    print(f"{_CLEAR if _is_terminal(sys.stdout) else ''}{text}", flush=True)


def styled(text: str, style: str, coloured: bool) -> str:
    """`text` in a style, of good, bad, busy, odd and faint; as it is where it is not `coloured` or has no style."""
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if coloured and style in _STYLES else text


def bar(share: float, width: int) -> str:
    """A bar of `width` characters, of which `share` (0..1) is filled, in steps of an eighth of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    whole, part = divmod(eighths, 8)
    return ("█" * whole + (_PARTS[part] if part else "")).ljust(width)


def sparkline(values: list[float], width: int = 60) -> str:
    """A line of blocks from the lowest of `values` to the highest, NaN and infinite ones as gaps; longer ones are
    thinned evenly to `width`, the last one kept."""
    if len(values) > width:
        values = [values[round(k * (len(values) - 1) / (width - 1))] for k in range(width)]
    finite = [value for value in values if abs(value) < float("inf")]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    scale = (len(_HEIGHTS) - 1) / ((high - low) or 1.0)
    return "".join(_HEIGHTS[round((v - low) * scale)] if abs(v) < float("inf") else " " for v in values)
