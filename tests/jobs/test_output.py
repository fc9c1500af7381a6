"""What a run has printed, found and followed."""

import threading
from collections.abc import Callable
from pathlib import Path

from pretend import Answer, squeue, submitted

from blurtrain.run import Run
from jobs import output
from jobs.grid import Member


def test_a_log_is_followed_from_the_queue_through_attempts_to_the_end(
    answer: Answer, member: Callable[..., Member], tmp_path: Path
) -> None:
    one = member()
    submission = submitted(tmp_path, one)
    squeue(answer, submission, "12|N/A|RUNNING|10:00|node1|NAME|None")
    assert output.find(tmp_path, one.run_id[:-4]) == one.run_id
    parts = output.follow(tmp_path, one.run_id, every=0.01)
    shown: list[str] = []
    timer = threading.Timer(0.3, lambda: _attempt("first\n"))  # nothing has been printed until then

    def _attempt(text: str) -> Path:
        run = Run.begin(tmp_path, one.run_id, one.settings)
        log = run.new_attempt(one.settings, "d").path / "log.txt"
        log.write_text(text)
        return log

    timer.start()
    shown.append(next(parts)[1])
    first = Run(tmp_path / one.run_id).attempts()[0] / "log.txt"
    with first.open("a") as file:
        file.write("more\n")
    second = _attempt("second\n")
    shown += [next(parts)[1], next(parts)[1]]
    with second.open("a") as file:
        file.write("last\n")
    answer("squeue")
    shown += [part for _, part in parts]
    assert shown == ["first\n", "more\n", "second\n", "last\n"]
