"""A search in a process of its own, for whoever calls it from Python.

Ray reads its environment where it is imported, once a process: in that of a notebook it may be there already, set up
for something else, and a search would change that.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

from blurtrain.errors import REQUEUE, JobError, Stopped
from jobs.processes import leashed


def run(words: Sequence[str], report: Callable[[str], Any]) -> list[dict[str, Any]]:
    """`blurtrain tune WORDS --json`; `report` is called with each line that it prints beside the rows it returns.

    It ends with this process. An interrupt, or an error in `report`, stops it: it saves, and is waited for. Raises
    JobError where it fails, and Stopped where it was asked to stop, with its own line.
    """
    command = leashed(["-m", "blurtrain", "tune", *words, "--json"], sorted(os.sched_getaffinity(0)))
    # A file, for a full pipe would stop a process that nobody reads from.
    with tempfile.TemporaryFile("w+") as rows:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=rows, stderr=subprocess.PIPE, text=True)
        last = ""
        try:
            for line in process.stderr or ():
                last = line.rstrip()
                if not last.startswith("blurtrain: "):
                    report(last)
        except BaseException:
            process.terminate()
            process.communicate()  # it may have more to say before it ends
            raise
        if code := process.wait():
            said = last.removeprefix("blurtrain: ") or f"blurtrain tune {' '.join(words)}: ended with {code}"
            raise Stopped(said) if code == REQUEUE else JobError(said)
        rows.seek(0)
        found: list[dict[str, Any]] = json.load(rows)
        return found
