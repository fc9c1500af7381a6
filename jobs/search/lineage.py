"""The lineage of a member of a population: which runs it was, and from whose checkpoint it went on.

An entry of `Trial.lineage` is one take-over: what the member was before (runs, flat, active, starts), after which
`epoch` it was left, `from` which trial it goes on, by which `parents` ({run, epoch, sha256}, one a seed), and what was
`changed` of that trial's settings: {path: [then, now]}.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from blurtrain.settings import Start, run_ids
from blurtrain.trials import Trial
from jobs.grid import Member
from jobs.search.file import SearchFile
from jobs.search.space import Flat

Starts = Sequence[Mapping[str, Any]]
"""Settings `start` of the runs of one point, one a seed; empty: they begin anew."""


def starts_of(trial: Trial) -> Starts:
    """Where the runs begin that a trial is at."""
    return trial.lineage[-1]["parents"] if trial.lineage else ()


def members_at(file: SearchFile, flat: Flat | None, starts: Starts) -> tuple[Member, ...]:
    """The runs of a point that begin there."""
    members = file.members(flat)
    if not starts:
        return members
    begun = [
        member.settings.model_copy(update={"start": Start(**start)})
        for member, start in zip(members, starts, strict=True)
    ]
    return tuple(
        Member(run_ids(settings, file.data_id)(settings.seed), settings, member.resources)
        for member, settings in zip(members, begun, strict=True)
    )


def before(trial: Trial, epoch: int) -> Trial:
    """The trial as it came to the end of `epoch`, before it took anything over there."""
    later = [k for k, entry in enumerate(trial.lineage) if entry["epoch"] >= epoch]
    if not later:
        return trial
    entry = trial.lineage[later[0]]
    runs = tuple(entry["runs"])
    return replace(trial, runs=runs, flat=entry["flat"], active=entry["active"], lineage=trial.lineage[: later[0]])


def taken_over(file: SearchFile, trial: Trial, parent: Trial, starts: Starts, flat: Flat | None) -> Trial:
    """The trial after it has gone on from the checkpoints of `parent` that `starts` names, at another point. Raises
    SettingsError where that is no valid one."""
    epoch = int(starts[0]["epoch"])
    old, source = before(trial, epoch), before(parent, epoch)
    active = file.active(flat)
    paths = dict.fromkeys([*source.active, *active])
    changed = {p: [source.active.get(p), active.get(p)] for p in paths if source.active.get(p) != active.get(p)}
    entry = {
        "runs": list(old.runs),
        "flat": old.flat,
        "active": old.active,
        "starts": list(starts_of(old)),
        "epoch": epoch,
        "from": parent.number,
        "parents": [dict(start) for start in starts],
        "changed": changed,
    }
    runs = tuple(member.run_id for member in members_at(file, flat, starts))
    if len(trial.lineage) > len(old.lineage) and _same(trial.lineage[len(old.lineage)], entry, trial, old, runs):
        return trial  # it was noted before an interruption, and may have gone on since
    return replace(old, runs=runs, flat=flat, active=active, lineage=(*old.lineage, entry))


def _same(noted: Mapping[str, Any], entry: Mapping[str, Any], trial: Trial, old: Trial, runs: tuple[str, ...]) -> bool:
    """Whether an entry was noted before, and led to the same runs."""
    later = trial.lineage[len(old.lineage) + 1 :]
    led_to = tuple(later[0]["runs"]) if later else trial.runs
    return dict(noted) == dict(entry) and led_to == runs


def chain(trial: Trial, trials: Iterable[Trial], epochs: int) -> list[dict[str, Any]]:
    """How the weights of a trial came about, oldest first: {trial, settings, runs, from_epoch, until_epoch, sha256}:
    each stage goes on from the checkpoints (sha256, one a run) with which the one before it ends."""
    made = {}  # by the runs: of whom they were, at which settings, and where they begin
    for one in trials:
        for entry in one.lineage:
            made[tuple(entry["runs"])] = one.number, entry["active"], entry["starts"]
        made[one.runs] = one.number, one.active, starts_of(one)
    runs, until, found = trial.runs, epochs, list[dict[str, Any]]()
    while True:
        number, active, starts = made[runs]
        begin = int(starts[0]["epoch"]) if starts else 0
        found.append({
            "trial": number, "settings": dict(active), "runs": list(runs), "from_epoch": begin, "until_epoch": until,
            "sha256": [start["sha256"] for start in starts],
        })  # fmt: skip
        if not starts:
            return found[::-1]
        runs, until = tuple(str(start["run"]) for start in starts), begin
