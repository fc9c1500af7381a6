"""A member of a population at work, in an actor of Ray: its runs train to the next comparison; their state is kept."""

import time
from collections.abc import Sequence
from typing import Any

from blurtrain.errors import RunError
from blurtrain.trials import mean_of
from jobs.grid import Member
from jobs.search.lineage import members_at
from jobs.search.population import worst
from jobs.search.trial import POLL_SECONDS, RunAtWork, TrialAtWork


class RunToEpoch(RunAtWork):
    """One run of a member: over where it is paused after epoch `until`, or has gone on since."""

    until: int = 0
    sha256: str = ""
    """Of its state after that epoch; empty where it was not kept, as somebody else has trained the run past it."""

    def _is_over(self) -> bool:
        if not self.until:
            return False
        try:
            self.sha256 = self.run.keep_epoch(self.until)
            return True
        except RunError:
            self.sha256 = ""
        return super()._is_over() or any(epoch > self.until for epoch in self.values())

    def _command(self) -> list[str]:
        words = super()._command()
        return words if words[1] != "train" else [*words, "--until-epoch", str(self.until)]

    def go_on(self, until: int) -> None:
        """Train to this epoch next."""
        self.until, self.processes = until, None
        self.done = self._is_over()


class MemberAtWork(TrialAtWork):
    """All runs of one member. A step is over when all have come to the next epoch at which members are compared."""

    kind = RunToEpoch
    runs: list[RunToEpoch]  # type: ignore[assignment]

    def _members(self, config: dict[str, Any]) -> Sequence[Member]:
        """config, beside what a trial has: is_base, whether `flat` are the base settings; starts, see lineage."""
        return members_at(self.work.file, None if config["is_base"] else config["flat"], config["starts"])

    def _next(self) -> dict[str, Any]:
        """The next comparison's objective; or the worst there is, and what the member has failed of."""
        every = self.work.file.search.population.every_epochs
        until = min(self.reported - self.reported % every + every, self.work.epochs)
        for run in self.runs:
            run.go_on(until)
        while not all(run.done for run in self.runs):
            for run in self.runs:
                run.poll()
            if error := next((run.error for run in self.runs if run.error), ""):
                self._stop()
                return self._failed(until, error)
            time.sleep(POLL_SECONDS)
        self.reported = until
        found = mean_of([(run.values(), run.run.result() is not None) for run in self.runs])
        known = [epoch for epoch in found if epoch <= until]
        if not known:
            return self._failed(until, f"{self.runs[0].run.id}: never reported the objective")
        results = [run.run.result() for run in self.runs]
        ended = all(result is not None and result["epochs"] <= until for result in results)
        sha256 = [run.sha256 for run in self.runs]
        return self._result(epoch=until, objective=found[max(known)], sha256=sha256, finished=ended)

    def _failed(self, until: int, error: str) -> dict[str, Any]:
        """It is not over, unless there is no comparison any more: it may take over from another."""
        self.reported = until
        over = until >= self.work.epochs
        return self._result(epoch=until, objective=worst(self.work.file), failed=error, finished=over)

    def _mark_pruned(self) -> None:
        """Nothing: a member rests whenever others are to catch up; what it leaves for good, the driver marks."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """How far it has come since it took over."""
        self.reported = max(self.reported, checkpoint["reported"])
