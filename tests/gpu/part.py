"""What a part of `make gpu` is, and how one is run: in a process of its own, which reports as it goes.

It writes lines of JSON to a file: {"row": {...}} for each row, and {"skipped": reason} or {"failed": reason}. What it
prints is the log.
"""

import importlib.util
import json
import os
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Row = dict[str, Any]


class Skipped(Exception):
    """A part that cannot be run here, with the reason."""


class Unfit(Exception):
    """What makes a machine one that no part can be run on."""


UNFIT = 4
"""Exit code that says so."""


@dataclass(frozen=True)
class Context:
    """Where a part runs: "cuda" or "cpu", and a folder that all parts share."""

    device: str
    work: Path

    @property
    def rehearsal(self) -> bool:
        """Whether this is a processor, where everything is small: to see that it works, and not how fast."""
        return self.device == "cpu"


@dataclass(frozen=True)
class Part:
    name: str
    title: str
    """Heading of its table."""
    seconds: float
    """Time limit."""
    rows: Callable[[Context], Iterator[Row]]
    needs: tuple[str, ...] = ()
    """Packages without which it is skipped."""
    gpu: bool = False
    """Whether it says nothing without one."""


def execute(part: Part, context: Context, report: Path) -> int:
    """Run a part in this process; returns its exit code (0: done or skipped, UNFIT)."""
    with report.open("a", buffering=1) as lines:

        def tell(**what: Any) -> None:
            lines.write(json.dumps(what) + "\n")

        try:
            if missing := [name for name in part.needs if not _is_here(name)]:
                raise Skipped(f"needs {', '.join(missing)}")
            if context.rehearsal:
                _take_one_core()
            if part.gpu and context.device != "cuda":
                raise Skipped("needs a GPU")
            for row in part.rows(context):
                print(row, flush=True)
                tell(row=row)
        except Skipped as reason:
            tell(skipped=str(reason))
        except Unfit as reason:
            tell(failed=str(reason))
            return UNFIT
        except Exception as error:
            traceback.print_exc()
            tell(failed=_cause(error))
            return 1
    return 0


def _is_here(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _take_one_core() -> None:
    """For work that is so small, threads cost more than they bring, on a busy machine many times more."""
    mine = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {mine[os.getpid() % len(mine)]})


def _cause(error: Exception) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    if "OutOfMemory" in type(error).__name__:
        return f"out of GPU memory: {first}"
    return f"{type(error).__name__}: {first}"
