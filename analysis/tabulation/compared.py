"""Cells beside others: differences to a baseline, and which cannot be distinguished from the best."""

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from analysis.statistics.comparisons import benjamini_hochberg, holm, p_of_interval
from analysis.tabulation.axes import Head
from analysis.tabulation.cells import Cell, Comparison
from analysis.tabulation.filling import Filled, Filling
from analysis.tabulation.pairs import compare
from analysis.tabulation.selection import SERIES
from analysis.tabulation.specs import OF_A_LEVEL, OF_TRIALS, Found, TableSpec
from blurtrain.documents import read_yaml
from blurtrain.settings import PRESETS

Cells = dict[tuple[int, int], Filled]
ALPHA = 0.05
SAME_IMAGES = ("dataset", "split", "n", "drop_last", "classes", "largest_class")
"""What two cells have to agree in to be ranked."""


def compared(filling: Filling, rows: Sequence[Head], columns: Sequence[Head], filled: Cells) -> Cells:
    """The cells, with what the spec compares."""
    spec = filling.spec
    if spec.baseline:
        filled = _with_baseline(filling, filled)
    if spec.mark:
        filled = _with_marks(filling, rows, columns, filled)
    return filled


def corrected(ps: Sequence[float], how: str, family: int | None = None) -> list[float]:
    """p values, corrected as the spec says, for all of them that there are, or a `family` of which they are part."""
    return [*ps] if how == "none" else {"holm": holm, "bh": benjamini_hochberg}[how](ps, family)


# --- a baseline -----------------------------------------------------------------------------------------------------


def _with_baseline(filling: Filling, filled: Cells) -> Cells:
    spec = filling.spec
    known = {(repr(sorted(one.match.items())), one.cell.value): one for one in filled.values()}
    made: Cells = {}
    names = list(spec.baseline)
    for at, one in filled.items():
        match = baseline_match(one.match, spec.baseline)
        base = known.get((repr(sorted(match.items())), one.cell.value)) or filling.beside(match, one.cell.value)
        if one.rows is not None and (base.rows is None or unlike(filling, one, base, names)):
            alone = filling.beside(match, one.cell.value, _like(filling, one, names))
            base = alone if alone.rows is not None else base
        made[at] = _against(filling, one, base)
    places = [at for at, one in made.items() if one.cell.comparison and one.cell.comparison.difference]
    ps = corrected([_comparison(made[at].cell).p for at in places], spec.correction)
    for at, p in zip(places, ps, strict=True):
        cell = made[at].cell
        made[at] = replace(made[at], cell=replace(cell, comparison=replace(_comparison(cell), corrected=p)))
    return made


def _comparison(cell: Cell) -> Comparison:
    assert cell.comparison is not None
    return cell.comparison


def baseline_match(match: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, Any]:
    """What the baseline of a cell is of. A blur has two names."""
    replaced = {"blur", "sigma"} if {"blur", "sigma"} & baseline.keys() else set(baseline)
    return {**{name: value for name, value in match.items() if name not in replaced}, **baseline}


def _against(filling: Filling, one: Filled, base: Filled) -> Filled:
    """A cell with its comparison; of the baseline itself there is none, but its ratio to itself."""
    show, cell = filling.spec.show, one.cell
    published = _published(cell.published, base.cell.published, show)
    if one.rows is None:
        return replace(one, cell=replace(cell, published=published))
    if base.rows is None:
        several = "none differs in {} alone".format(", ".join(filling.spec.baseline))
        why = several if base.cell.missing.startswith("several") else base.cell.missing
        return _why_not(filling, one, f"no baseline: {why}", published)
    if one.rows.runs == base.rows.runs and one.rows.about == base.rows.about:
        if show == "value":
            return one
        return _why_not(filling, one, "the baseline itself", published)
    if differ := unlike(filling, one, base, [*filling.spec.baseline]):
        return _why_not(filling, one, f"not compared: differs from the baseline in {', '.join(differ)} too", published)
    made, ratio = compare(one.rows, base.rows, filling.images, show)
    estimate = {"value": cell.estimate, "difference": made.difference, "ratio": ratio}[show]
    if made.pair is None:
        return _why_not(filling, one, f"not compared with the baseline: {made.why_not}", published)
    if estimate is None or math.isnan(estimate.value):
        why = "the baseline is 0" if 0 in made.pair[1].values else "a ratio needs values above 0"
        return _why_not(filling, one, why, published)
    own = one.rows if show == "value" else made.pair[0]
    cell = replace(cell, estimate=estimate, comparison=made, published=published, seeds=own.seeds, runs=own.runs)
    return replace(one, cell=cell)


def _why_not(filling: Filling, one: Filled, why: str, published: float | None) -> Filled:
    """A value without comparison; where the comparison is all that is to be shown, an empty cell."""
    if filling.spec.show == "value":
        return replace(one, cell=replace(one.cell, comparison=Comparison(why_not=why)))
    cell = replace(one.cell, estimate=None, missing=why, published=published)
    return replace(one, cell=cell)


def _published(own: float | None, base: float | None, show: str) -> float | None:
    if show == "value" or own is None:
        return own
    if base is None:
        return None
    return own - base if show == "difference" else own / base if base else None


def unlike(filling: Filling, one: Filled, other: Filled, names: Sequence[str]) -> list[str]:
    """In what two cells differ beyond what is compared."""
    assert one.rows is not None and other.rows is not None
    levels = [name for name in SAME_IMAGES if one.rows.about[name] != other.rows.about[name]]
    levels += [name for name in _levels(names) if one.rows.about[name] != other.rows.about[name]]
    allowed = compared_settings(names, [one.rows.about, other.rows.about])
    return [*levels, *_differing(settings_of(filling, one), settings_of(filling, other), allowed)]


def _differing(own: Mapping[str, Any], base: Mapping[str, Any], allowed: tuple[str, ...]) -> list[str]:
    if ("runs" in own) != ("runs" in base):
        return ["how many runs were measured as one"]
    both = dict.fromkeys((*own, *base))
    return [name for name in both if not _allowed(name, allowed) and repr(own.get(name)) != repr(base.get(name))]


def _allowed(name: str, allowed: tuple[str, ...]) -> bool:
    """Whether cells may differ in a setting; in their data only where that itself is compared."""
    return name in allowed if name == "data_id" else name.startswith(allowed)


def _like(filling: Filling, one: Filled, names: Sequence[str]) -> Callable[[int], bool]:
    """Whether settings differ from those of a cell in nothing but what is compared."""
    assert one.rows is not None
    source, own = filling.source, settings_of(filling, one)
    about = {name: filling.spec.baseline.get(name, one.rows.about.get(name)) for name in ("regime", "model")}
    allowed = (*compared_settings(names, [one.rows.about, about]), "data_id")

    def like(kind: int) -> bool:
        return not _differing(own, source.trained(kind), allowed)

    return like


def _levels(names: Sequence[str]) -> list[str]:
    """What measurements have to agree in where `names` are compared. Stages that are not named are the last epoch, of
    which settings say the number."""
    blurred = ("blur",) if {"blur", "sigma"} & {*names} else ()
    return [name for name in SERIES if name not in (*SAME_IMAGES, *names, *blurred, "epoch")]


def settings_of(filling: Filling, one: Filled) -> Mapping[str, Any]:
    """The settings of a cell's runs that change what is trained, and the data that they were trained on."""
    assert one.rows is not None
    source = filling.source
    place = source.place_of(one.rows.runs[0])
    if place is None:
        return {"runs": one.rows.settings_id, "data_id": one.rows.about["data_id"]}  # several, measured as one
    kind, data = (source.column(name, of_runs=True)[place] for name in ("kind", "data_id"))
    return {**source.trained(int(kind)), "data_id": data}


def compared_settings(names: Sequence[str], about: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The beginnings of the settings that `names` speak for: a regime says a curriculum, and all its preset does."""
    labels = {name: frozenset(str(one[name]) for one in about) for name in ("regime", "model") if name in names}
    return _compared_settings(tuple(names), labels.get("regime", frozenset()), labels.get("model", frozenset()))


@functools.cache
def _compared_settings(names: tuple[str, ...], regimes: frozenset[str], models: frozenset[str]) -> tuple[str, ...]:
    any_setting = bool({"run_id", *OF_TRIALS} & {*names})
    allowed = [""] if any_setting else [name for name in names if "." in name]
    for name, labels, section in (("regime", regimes, "curriculum."), ("model", models, "network.")):
        if name in names:
            allowed += [section, *(leaf for label in labels for leaf in _of_preset(f"{name}s", label))]
    if {"dataset", "data_id"} & {*names}:
        allowed += ["data.", "data_id"]
    return tuple(allowed)


@functools.cache
def _of_preset(folder: str, label: str) -> tuple[str, ...]:
    path = PRESETS / folder / f"{label}.yaml"
    return tuple(_leaves(read_yaml(path))) if path.is_file() and path.parent == PRESETS / folder else ()


def _leaves(document: Mapping[str, Any], within: str = "") -> list[str]:
    found = []
    for name, value in document.items():
        found += _leaves(value, f"{within}{name}.") if isinstance(value, Mapping) else [within + name]
    return found


# --- the best -------------------------------------------------------------------------------------------------------


def scope_of(spec: TableSpec) -> str:
    """Among which cells the best is looked for: best in row, best in column or best in table."""
    if spec.mark != "best":
        return spec.mark
    of_rows, of_columns = (_networks(lines) for lines in spec.axes)
    return "best in row" if of_columns and not of_rows else "best in column"


def _networks(lines: Any) -> bool:
    """Whether lines tell networks apart that were tested on the same images."""
    names = set(lines.by) if isinstance(lines, Found) else {name for line in lines for name in line.match}
    return bool(names - {*OF_A_LEVEL, "dataset", "data_id", "seed"})


def _with_marks(filling: Filling, rows: Sequence[Head], columns: Sequence[Head], filled: Cells) -> Cells:
    scope = scope_of(filling.spec)
    way = {"best in row": 0, "best in column": 1}.get(scope)
    heads = [*rows] * (scope != "best in row") + [*columns] * (scope != "best in column")
    names = list(dict.fromkeys(name for head in heads for name in head.match))
    allowed = compared_settings(names, [one.rows.about for one in filled.values() if one.rows is not None])
    # Lines differ in their data also where nobody asked for it, and all that are ranked are of one dataset.
    if "data_id" not in filling.spec.names:
        allowed = tuple(name for name in allowed if name != "data_id")
    groups: dict[Any, list[tuple[int, int]]] = {}
    for at, one in filled.items():
        if one.rows is not None and one.cell.estimate and filling.facts[one.cell.value].better != "neither":
            groups.setdefault((None if way is None else at[way], *_class(filling, one, names, allowed)), []).append(at)
    comparisons: list[tuple[tuple[int, int], Comparison]] = []
    marks: dict[tuple[int, int], str] = {}
    for places in groups.values():
        if len(places) < 2:
            continue
        sign = -1 if filling.facts[filled[places[0]].cell.value].better == "lower" else 1
        best = max(places, key=lambda at: sign * _value(filled[at].cell))
        marks[best] = "best"
        first = filled[best].rows
        for at in places:
            other = filled[at].rows
            if at != best and first is not None and other is not None:
                comparisons.append((at, compare(other, first, filling.images, "value")[0]))
    # Which is the best is seen in the same data: any pair could have been compared.
    pairs = sum(len(places) * (len(places) - 1) // 2 for places in groups.values())
    ps = corrected([_p(made) for _, made in comparisons], filling.spec.correction, pairs)
    marks |= {at: "tied" for (at, _), p in zip(comparisons, ps, strict=True) if p >= ALPHA}
    why_not = {at: f"not compared with the best: {made.why_not or 'no interval of the difference'}"
               for (at, made), p in zip(comparisons, ps, strict=True) if math.isnan(p)}  # fmt: skip
    return {at: replace(one, cell=replace(one.cell, mark=marks.get(at, ""), not_ranked=why_not.get(at, "")))
            for at, one in filled.items()}  # fmt: skip


def _value(cell: Cell) -> float:
    assert cell.estimate is not None
    return cell.estimate.value


def _p(made: Comparison) -> float:
    """Of a difference without a test, that of its interval; NaN where there is none."""
    found = made.difference
    if found is None or not math.isnan(made.p):
        return made.p
    return p_of_interval(found.value, found.low, found.high, found.seeds - 1 if found.over == "seeds" else math.inf)


def _class(filling: Filling, one: Filled, names: Sequence[str], allowed: tuple[str, ...]) -> tuple[Any, ...]:
    """The same for cells that may be ranked: of one metric, the same images, and but for `names` the same settings."""
    assert one.rows is not None
    about = one.rows.about
    levels = [repr(about[name]) for name in (*SAME_IMAGES, *_levels(names))]
    own = settings_of(filling, one)
    rest = sorted((name, repr(value)) for name, value in own.items() if not _allowed(name, allowed) and name != "runs")
    return (one.cell.value, *levels, repr(rest))
