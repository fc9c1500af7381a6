"""Tables by their specs: each cell a mean over seeds with its interval, the runs that it comes from, and a published
number beside it, or the reason why it is empty."""

import csv
import io
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.documents import CONDITIONS, REFERENCE, Member
from analysis.ensembles import Ensemble
from analysis.panels import same_objects
from analysis.runs import Collected, swept
from analysis.statistics import Estimate, accuracy, mean_over_seeds
from analysis.table_specs import OF_A_LEVEL, OF_A_RUN, Line, TableSpec
from blurtrain.blur.blurs import Blur, Gaussian
from blurtrain.errors import SettingsError, nearest
from blurtrain.kinds import Kind
from blurtrain.schema import Section
from blurtrain.settings import Settings
from blurtrain.settings.labels import model_label, regime_label

PERCENT = ("top1", "top5")


@dataclass(frozen=True)
class Cell:
    """A number of a table, or why there is none."""

    value: str
    """What it is: top1, top5, entropy or cross_entropy."""
    estimate: Estimate | None = None
    """Shares in 0..1, or nats; over several seeds their mean, with the interval that `over` names."""
    n: int = 0
    """Test images."""
    seeds: tuple[int, ...] = ()
    runs: tuple[str, ...] = ()
    """That it comes from, or that are awaited; those that were measured as one are joined by +."""
    published: float | None = None
    """Percent, or nats."""
    missing: str = ""


@dataclass(frozen=True)
class Table:
    """A spec filled in with the runs of one model on one dataset."""

    spec: TableSpec
    dataset: str
    model: str
    cells: tuple[tuple[Cell, ...], ...]
    """By row, then by column."""

    @property
    def title(self) -> str:
        return f"{self.spec.title}: {self.model} on {self.dataset}"


def tables(specs: Sequence[TableSpec], collected: Collected) -> list[Table]:
    """Each spec once for every model and dataset of which any cell has a number.

    Only runs that differ in nothing but their seed, measured under the same conditions by the weights after their last
    epoch, make up a cell; where others match it too, it stays empty and says in what they differ. Raises SettingsError
    where a spec names a setting that there is none of.
    """
    frame = collected.frame
    frame = frame[frame["epoch"] == frame["epochs"]]
    contexts = list(dict.fromkeys(zip(frame["dataset"], frame["model"], frame["data_id"], strict=True)))
    about = {run_id: _about(settings) for run_id, settings in collected.settings.items()}
    made = []
    for spec in specs:
        for dataset, model, data_id in contexts:
            context = {"dataset": dataset, "model": model}
            own = frame[frame["data_id"] == data_id]
            found = [[_cell(spec, row, column, context, own, collected, about) for column in spec.columns]
                     for row in spec.rows]  # fmt: skip
            if any(cell.estimate for cells in found for cell in cells):
                made.append(Table(spec, dataset, model, tuple(map(tuple, found))))
    return made


def _about(settings: Settings) -> dict[str, Any]:
    return {"dataset": settings.dataset, "regime": regime_label(settings), "model": model_label(settings),
            "seed": settings.seed}  # fmt: skip


def _cell(
    spec: TableSpec,
    row: Line,
    column: Line,
    context: Mapping[str, Any],
    frame: pd.DataFrame,
    collected: Collected,
    about: Mapping[str, Mapping[str, Any]],
) -> Cell:
    value, beside = spec.value_of(row, column), spec.published_value(row, column)

    def empty(why: str) -> Cell:
        return Cell(value, published=beside, missing=why)

    if none := row.none or column.none:
        return empty(none)
    match = spec.match(row, column)
    of_level = {name: wanted for name, wanted in match.items() if name in OF_A_LEVEL}
    of_run = {name: wanted for name, wanted in match.items() if name not in OF_A_LEVEL}
    if any(name in of_run and not _is_any(context[name], of_run[name]) for name in context):
        return empty("not of this table")

    def those(wanted: Mapping[str, Any]) -> list[str]:
        return [run_id for run_id, settings in collected.settings.items()
                if _matches(settings, about[run_id], {**wanted, **context}, spec.name)]  # fmt: skip

    members = row.ensemble or column.ensemble
    chosen = [those({**of_run, **_of_run(member)}) for member in members] if members else [those(of_run)]
    for runs in chosen:
        if frame["run_id"].isin(runs).any():
            continue
        waiting = [run_id for run_id in runs if run_id in collected.missing]
        pruned = [run_id for run_id in runs if run_id in collected.pruned]
        if not waiting and not pruned:
            return empty("no such run")
        why = f"not done yet: {len(waiting)}" if waiting else f"pruned by a search: {len(pruned)}"
        return Cell(value, runs=tuple(waiting or pruned), published=beside, missing=why)
    if members:
        rows = _measured_as_one(members, chosen, frame, collected.ensembles)
        if rows.empty:
            return empty("not measured as one, by `blurtrain evaluate --ensemble --out RUNS/ensembles`, at one seed")
    else:
        rows = frame[frame["run_id"].isin(chosen[0])]
    at = rows
    for name, wanted in of_level.items():
        at = at[at[name].map(lambda given, name=name, wanted=wanted: _is_any(given, _canonical(name, wanted)))]
    if at.empty:
        return empty("not measured" + "".join(f", {name} {_words(wanted)}" for name, wanted in of_level.items()))
    if differing := _differing(at):
        return empty(f"several runs match, which differ in {', '.join(differing)}: say which, in `where` or `match`")
    at = at.drop_duplicates("seed").sort_values("seed")
    seeds = tuple(int(seed) for seed in at["seed"])
    estimate = _estimate(at, value)
    if math.isnan(estimate.value):
        return empty("not recorded, by an older version, or not finite")
    return Cell(value, estimate, int(at["n"].iloc[0]), seeds, tuple(at["run_id"]), beside)


def _of_run(member: Mapping[str, Any]) -> dict[str, Any]:
    return {name: wanted for name, wanted in member.items() if name != "protocol"}


def _measured_as_one(
    wanted: Sequence[Mapping[str, Any]],
    chosen: Sequence[Sequence[str]],
    frame: pd.DataFrame,
    ensembles: Sequence[Ensemble],
) -> pd.DataFrame:
    """Rows, as those of `frame`, of the ensembles of one run each of `chosen`, all of one seed, shown images by the
    protocols that are `wanted`; each is called by all its runs."""
    rows = frame.drop_duplicates("run_id")
    seed, epochs, settings_id = (
        dict(zip(rows["run_id"], rows[name], strict=True)) for name in ("seed", "epochs", "settings_id")
    )

    def fits(member: Member, place: int) -> bool:
        return (
            member.run in chosen[place]
            and member.epoch == epochs.get(member.run)
            and _is_any(member.protocol, wanted[place].get("protocol", member.protocol))
        )

    found = []
    for ensemble in ensembles:
        orders = itertools.permutations(ensemble.members) if len(ensemble.members) == len(wanted) else ()
        order = next((order for order in orders if all(fits(member, k) for k, member in enumerate(order))), ())
        runs = [member.run for member in order]
        if len({seed[run] for run in runs}) == 1:
            settings = "+".join(settings_id[run] for run in runs)
            about = {"run_id": "+".join(runs), "seed": seed[runs[0]], "regime": "", "settings_id": settings}
            found += [{**about, **level} for level in ensemble.levels]
    return pd.DataFrame(found)


def _matches(settings: Settings, about: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> bool:
    for name, value in wanted.items():
        if name in OF_A_RUN:
            if not _is_any(about[name], value):
                return False
        elif _plain(_setting(settings, name, where)) != _plain(value):
            return False
    return True


def _setting(settings: Section, name: str, where: str) -> Any:
    """The value of a setting by its dotted name; None where a section is not given, or is of a kind without it."""
    here: Any = settings
    for part in name.split("."):
        if not isinstance(here, Section):
            return None
        if part not in type(here).model_fields:
            if isinstance(here, Kind):
                return None
            raise SettingsError(f"table {where}: no setting {name!r}; {nearest(part, type(here).model_fields)}")
        here = getattr(here, part)
    return here


def _plain(value: Any) -> Any:
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    return [_plain(part) for part in value] if isinstance(value, list | tuple) else value


def _is_any(given: Any, wanted: Any) -> bool:
    return given in wanted if isinstance(wanted, list) else bool(given == wanted)


def _words(wanted: Any) -> str:
    return " or ".join(map(str, wanted)) if isinstance(wanted, list) else str(wanted)


def _canonical(name: str, wanted: Any) -> Any:
    """A blur as the frame calls it."""
    if name != "blur":
        return wanted
    if isinstance(wanted, list):
        return [_canonical(name, label) for label in wanted]
    blur = Blur.model_validate(wanted)
    # Gaussians are called by their sigma at 224, with six digits.
    return f"gaussian-{blur.sigma * REFERENCE / blur.at:.6g}" if isinstance(blur, Gaussian) else blur.label


def _differing(rows: pd.DataFrame) -> list[str]:
    """In what the rows of a cell differ beyond their seed; empty: in nothing."""
    names = [name for name in ("blur", *CONDITIONS) if rows[name].nunique(dropna=False) > 1]
    if rows["settings_id"].nunique() > 1:
        settings = [name for name in ("regime", *swept(rows)) if rows[name].nunique(dropna=False) > 1]
        names += settings or ["settings_id"]
    return names


def _estimate(at: pd.DataFrame, value: str) -> Estimate:
    if value not in PERCENT:
        return mean_over_seeds(at[value].tolist())
    counts, ns = at[f"{value}_count"].tolist(), at["n"].tolist()
    by_object = at["object_top1"].tolist() if value == "top1" else []
    return accuracy(counts, ns, by_object, same_objects(at), bool(at["objects"].iloc[0] > 0))


_FIELDS = ("table", "dataset", "model", "row", "column", "value", "estimate", "low", "high", "over", "sd", "seeds", "n",
           "published", "published_network", "missing", "runs")  # fmt: skip


def tables_csv(made: Sequence[Table]) -> str:
    """All cells, a line each: accuracies in percent, means in nats; `seeds` and `runs` separated by blanks."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_FIELDS)
    for table in made:
        for row, cells in zip(table.spec.rows, table.cells, strict=True):
            for column, cell in zip(table.spec.columns, cells, strict=True):
                network = table.spec.published.network if table.spec.published and cell.published is not None else ""
                writer.writerow([
                    table.spec.name, table.dataset, table.model, row.label, column.label, cell.value,
                    *_numbers(cell), " ".join(map(str, cell.seeds)), cell.n or "",
                    "" if cell.published is None else f"{cell.published:g}", network, cell.missing,
                    " ".join(cell.runs),
                ])  # fmt: skip
    return out.getvalue()


def _numbers(cell: Cell) -> list[str]:
    estimate = cell.estimate
    if estimate is None:
        return [""] * 5
    times = 100 if cell.value in PERCENT else 1
    value, low, high, sd = ("" if math.isnan(x) else f"{times * x:.4f}"
                            for x in (estimate.value, estimate.low, estimate.high, estimate.sd))  # fmt: skip
    return [value, low, high, estimate.over if low else "", sd]
