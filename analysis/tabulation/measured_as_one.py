"""Runs that were measured as one (`blurtrain evaluate --ensemble`), as rows of a table."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.documents import Member
from analysis.tabulation.codes import Bools, is_wanted
from analysis.tabulation.selection import Selection
from analysis.tabulation.source import levels_as_measured

OF_ALL = ("dataset", "regime", "model", "data_id")
"""What is said of runs that were measured as one, beside their settings."""


def measured_as_one(
    wanted: Sequence[Mapping[str, Any]], chosen: Sequence[Bools], source: Selection, metric: str
) -> pd.DataFrame:
    """Measurements of the ensembles of one run each of `chosen`, all of one seed, shown images by the protocols that
    are `wanted`; each is called by all its runs (run_id) and has the settings_id of all, and of OF_ALL what they have
    in common, or else that of each."""
    runs = source.runs.drop_duplicates("run_id").set_index("run_id")
    names = source.runs["run_id"].to_numpy()
    of_place = [set(names[fits]) for fits in chosen]

    def fits(member: Member, place: int) -> bool:
        return (
            member.run in of_place[place]
            and member.epoch == runs.at[member.run, "epochs"]
            and is_wanted(member.protocol, wanted[place].get("protocol", member.protocol))
        )

    found: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for ensemble in source.ensembles:
        orders = itertools.permutations(ensemble.members) if len(ensemble.members) == len(wanted) else ()
        order = next((order for order in orders if all(fits(member, k) for k, member in enumerate(order))), ())
        members = [member.run for member in order]
        if len({runs.at[run, "seed"] for run in members}) == 1:
            settings = "+".join(str(runs.at[run, "settings_id"]) for run in members)
            about = {"run_id": "+".join(members), "seed": runs.at[members[0], "seed"], "settings_id": settings}
            about |= {name: " + ".join(dict.fromkeys(str(runs.at[run, name]) for run in members)) for name in OF_ALL}
            found += [(about, level) for level in ensemble.levels]
    if not found:
        return pd.DataFrame()
    measured = levels_as_measured(pd.DataFrame([level for _, level in found]))
    for name in ("run_id", "seed", "settings_id", *OF_ALL):
        measured[name] = [about[name] for about, _ in found] * (len(measured) // len(found))
    return measured[measured["metric"] == metric]
