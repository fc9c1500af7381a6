"""The report: one HTML page that stands alone, the result table as CSV, and the figures as PNG and SVG."""

import base64
import dataclasses
import datetime
import hashlib
import importlib.metadata
import math
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import blurtrain
from analysis.collecting.runs import Collected, results_csv, scan
from analysis.literature import BLURRY_TO_CLEAR, CLEAR, DATASETS, REGIMES, STUDY, STUDY_RESOLUTION, published
from analysis.panels import Panel, at_the_end, panels
from analysis.reporting.overview import gathered, overview
from analysis.reporting.run_details import as_json, run_details
from analysis.reporting.standing import standing
from analysis.searches.section import FILTERS, Section, former_files, section, without_trials
from analysis.searches.trials import searches
from analysis.statistics.estimates import Estimate
from analysis.tabulation.metric_facts import facts
from analysis.tabulation.rendering import as_csv
from analysis.tabulation.rendering.html import as_html_notes, as_html_table
from analysis.tabulation.specs import table_specs
from analysis.tabulation.tables import Table, tables
from analysis.verdicts.claims import Claim
from analysis.verdicts.verdicts import SEEDS, Finding, Verdict, verdicts, verdicts_csv
from blurtrain.errors import RunError
from blurtrain.files import publish

if TYPE_CHECKING:
    from analysis.figures.style import Picture
    from analysis.reporting.on_page import Drawn

VERDICTS = "tables/verdicts.csv"
COMPARED = (0.0, 4.0, 8.0)
"""Sigmas at which the study's summary is given."""
_COLUMNS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_MOST_COLUMNS = 9
MOST_MISSING, MOST_COMBINATIONS, MOST_BY_SEED, MOST_OPEN = 1000, 1000, 1500, 60
"""What the page shows: runs that are missing, combinations of settings, runs seed by seed, and so many of these that
they are not folded up."""
_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPT = ("dialogs", "tables", "runs", "figures", "start")


def report(runs: str | Path, out: str | Path, also: Sequence["Picture"] = ()) -> Path:
    """Write `results.csv`, `index.html` and `figures/` of all done runs, `tables/` of those that fit one, and
    `searches/` of all searches into `out`; returns the path of `index.html`. also: further figures.

    Every file is replaced whole. Raises RunError if no run is done, if a run is damaged, or if `out` cannot be written.
    """
    from analysis.figures import accuracy as figures
    from analysis.figures.style import KINDS, as_files
    from analysis.reporting import pictures
    from analysis.reporting.on_page import Budget

    out = Path(out)
    collected = scan(runs)
    found, unreadable = searches(runs)
    collected = dataclasses.replace(collected, odd=[*collected.odd, *unreadable])
    kept = without_trials(collected, found, best=True)
    shown = panels(kept.frame)
    final = at_the_end(kept.frame, shown)
    over_sigma = [panel for panel in final if any(curve.points for curve in panel.curves)]
    charts = gathered(over_sigma)[: pictures.MOST_PANELS]
    accuracy = figures.accuracy_figure(charts) if charts else None
    ratio = figures.ratio_figure([panel for panel in over_sigma if panel.ratios][: pictures.MOST_PANELS])
    assert collected.collection is not None
    more = [*pictures.pictures(collected.collection, kept.settings.keys(), shown, final), *also]
    found_figures = {"accuracy": accuracy, "ratio": ratio, **{picture.name: picture.figure for picture in more}}
    files: dict[str, bytes | str] = {"results.csv": results_csv(collected.frame)}
    # Searches have a section of their own.
    specs = [spec for spec in table_specs() if "trial" not in spec.names]
    by_spec = tables(specs, without_trials(collected, found, best=False), measured_only=True)
    judged = verdicts(without_trials(collected, found, best=False))
    judged = judged if any(not math.isnan(f.effect) for verdict in judged for f in verdict.findings) else []
    if judged:
        files[VERDICTS] = verdicts_csv(judged)
    for name in dict.fromkeys(table.spec.name for table in by_spec):
        files[f"tables/{name}.csv"] = as_csv([table for table in by_spec if table.spec.name == name])
    shown_figures, budget = {}, Budget()
    for name, figure in found_figures.items():
        if figure:
            as_file = as_files(figure)
            files |= {f"figures/{name}.{kind}": content for kind, content in as_file.items()}
            shown_figures[name] = budget.drawn(figure, as_file["svg"])
    sections = [section(search, collected.frame, Path(runs), budget) for search in found]
    for part in sections:
        files |= part.files
    files["index.html"] = page(shown, collected, shown_figures, by_spec, sections, more, judged)
    drawn = _former_figures(out, ("accuracy", "ratio", "views", *pictures.KINDS), KINDS)
    former = [*former_files(out), VERDICTS, *drawn, *(f"tables/{spec.name}.csv" for spec in table_specs())]
    try:
        for folder in {(out / name).parent for name in (*files, "figures/any")}:
            folder.mkdir(parents=True, exist_ok=True)
        for name, whole in files.items():
            publish(out / name, whole)
        for name in former:
            if name not in files:  # of an earlier report: it would pass for this one's
                (out / name).unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"{out}: the report cannot be written: {error.strerror}; choose another folder") from None
    return out / "index.html"


def _former_figures(out: Path, names: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """What an earlier report has left of figures, by path below `out`."""
    own = re.compile(rf"({'|'.join(map(re.escape, names))})(-[a-z0-9.-]+)?\.({'|'.join(kinds)})")
    return [f"figures/{path.name}" for path in out.glob("figures/*") if own.fullmatch(path.name)]


def page(
    shown: Sequence[Panel],
    collected: Collected,
    pictures: Mapping[str, "Drawn"],
    by_spec: Sequence[Table] = (),
    sections: Sequence[Section] = (),
    more: Sequence["Picture"] = (),
    judged: Sequence[Verdict] = (),
) -> str:
    """`index.html` as text: `shown` are the panels of what was `collected`, `pictures` maps `accuracy`, `ratio` and the
    names of `more` to figures, `by_spec` are the tables by their specs, `sections` the searches, `more` all
    other figures, `judged` what comes of the studies' claims."""
    frame = collected.frame
    details = run_details(collected.collection)
    places = {run["about"]["run"]: place for place, run in enumerate(details["runs"])}

    def behind(run_ids: Sequence[str]) -> str:
        """The places of runs in `details`."""
        return " ".join(str(places[run_id]) for run_id in run_ids if run_id in places)

    def behind_cell(run_ids: Sequence[str]) -> Markup:
        found = behind(run_ids)
        return Markup(f' data-runs="{found}"') if found else Markup("")

    def in_html(table: Table) -> Markup:
        """A table and its notes, without the caption, which is a heading of the page."""
        return Markup(as_html_table(table, caption=False, runs_as=behind)) + Markup(as_html_notes(table))

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "percent_interval": percent_interval, "ratio": ratio,
                            "ratio_interval": ratio_interval, "effect": effect, "behind": behind_cell, "some": some,
                            "brief": brief, "in_html": in_html, "g": lambda x: f"{x:g}", **FILTERS}  # fmt: skip
    done = frame["run_id"].nunique()
    curves = [curve for panel in shown for curve in panel.curves]
    sigmas = sorted({sigma for curve in curves for run in curve.runs for sigma in run.points})
    style = Markup((_TEMPLATES / "report.css").read_text(encoding="utf-8"))
    script = Markup("\n".join((_TEMPLATES / "script" / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPT))
    return environment.get_template("report.html").render(
        style=style,
        script=script,
        policy=Markup(f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
                      "base-uri 'none'; form-action 'none'"),
        details=as_json(details),
        standing=standing(collected),
        overview=overview(shown),
        panels=shown,
        panels_by_seed=_by_seed(shown),
        most_missing=MOST_MISSING,
        most_combinations=MOST_COMBINATIONS,
        most_open=MOST_OPEN,
        columns=_columns(sigmas),
        all_sigmas=sigmas,
        others=any(panel.others for panel in shown),
        done=done,
        pictures=pictures,
        more=more,
        tables=by_spec,
        verdicts=judged,
        least_seeds=SEEDS,
        searches=sections,
        searches_first=set(frame["run_id"]) <= {run_id for part in sections for run_id in part.search.runs()},
        comparison=_comparison(shown),
        compared=COMPARED,
        regimes=REGIMES,
        study=STUDY,
        study_resolution=STUDY_RESOLUTION,
        written=datetime.datetime.now().astimezone().strftime("%-d %B %Y, %H:%M %Z"),
        versions=_versions(),
        several_seeds=any(len(curve.seeds) > 1 for curve in curves),
        partial=any(curve.partial for panel in shown for curve in (*panel.curves, *panel.ratios)),
        by_object=any(panel.objects > 0 for panel in shown),
        unlooked=frame[frame["objects"].isna()]["run_id"].nunique(),
        odd=collected.odd,
        resumed=_resumed(collected),
        not_read=collected.not_read,
        unlike=[line for panel in shown if (line := _unlike_the_study(panel))],
    )  # fmt: skip


def _hash(text: str) -> str:
    """What a Content-Security-Policy calls it by: nothing else is run or applied, wherever it came from."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _by_seed(panels: Sequence[Panel]) -> list[Panel]:
    """As many as make up MOST_BY_SEED runs; at least one."""
    chosen, left = list(panels[:1]), MOST_BY_SEED - _runs(panels[:1])
    for panel in panels[1:]:
        left -= _runs([panel])
        if left < 0:
            break
        chosen.append(panel)
    return chosen


def _runs(panels: Sequence[Panel]) -> int:
    return sum(len(curve.runs) for panel in panels for curve in panel.curves)


def some(values: Sequence[str], most: int = 6) -> str:
    """`3: clear, blurry, replay`, of many the first and the last."""
    shown = list(values) if len(values) <= most else [*values[: most - 2], "…", values[-1]]
    return f"{len(values)}: {', '.join(shown)}"


def brief(text: str, most: int = 300) -> str:
    """A message on one line, not longer than a table can show."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _resumed(collected: Collected) -> dict[str, str]:
    """The runs that went on otherwise than they began, and how."""
    rows = collected.collection.rows if collected.collection else []
    return {row["run_id"]: row["resumed"] for row in rows if row["resumed"]}


def percent(estimate: Estimate | None) -> str:
    """`81.4`, or `81.4 ± 2.0` (standard deviation) over several seeds; a dash where nothing was measured."""
    if estimate is None or math.isnan(estimate.value):
        return "–"
    return f"{100 * estimate.value:.1f}" + (f" ± {100 * estimate.sd:.1f}" if estimate.seeds > 1 else "")


def percent_interval(estimate: Estimate | None) -> str:
    """`71.9–88.2`: the 95 % interval."""
    return "" if estimate is None or math.isnan(estimate.low) else f"{100 * estimate.low:.1f}–{100 * estimate.high:.1f}"


def effect(finding: Finding, claim: Claim) -> str:
    """`+2.3 [-3.7, +8.4]`: points or whatever the metric has, of ratios a factor; with the corrected interval."""
    if math.isnan(finding.effect):
        return "–"
    known = facts(claim.table.value, is_count=False)
    is_ratio = claim.table.show == "ratio"
    value, *limits = (
        f"{x:.2f}" if is_ratio else known.shown(x, signed=True) if not math.isnan(x) else ""
        for x in (finding.effect, finding.low, finding.high)
    )
    return value if math.isnan(finding.low) else f"{value} [{', '.join(limits)}]"


def ratio(estimate: Estimate | None) -> str:
    """`2.66`, or `2.66 ×÷ 1.05` (geometric standard deviation) over several seeds; a dash where it is undefined."""
    if estimate is None or math.isnan(estimate.value):
        return "–"
    return f"{estimate.value:.2f}" + ("" if math.isnan(estimate.sd) else f" ×÷ {estimate.sd:.2f}")


def ratio_interval(estimate: Estimate | None) -> str:
    """`2.51–2.82`: the 95 % interval of a ratio; empty where there is none."""
    return "" if estimate is None or math.isnan(estimate.low) else f"{estimate.low:.2f}–{estimate.high:.2f}"


def _unlike_the_study(panel: Panel) -> str:
    """In what a panel with the name of one of the study's datasets is seen to differ from it; empty where in nothing
    that can be seen here, or where it has another name."""
    sets = published("b2c_datasets").set_index("dataset").to_dict("index")
    if panel.dataset not in sets:
        return ""
    about = sets[panel.dataset]
    study = {"classes": about["classes"], "px": STUDY_RESOLUTION, "test images": about["test_images"]}
    own = {"classes": panel.classes, "px": int(panel.conditions["resolution"]), "test images": panel.n}
    unlike = [f"{own[what]:,} {what} (study: {study[what]:,})" for what in own if own[what] != study[what]]
    return f"{panel.title}: {', '.join(unlike)}" if unlike else ""


def _columns(sigmas: Sequence[float]) -> list[float]:
    """The sigmas that the page's tables show; results.csv has all."""
    if len(sigmas) <= _MOST_COLUMNS:
        return list(sigmas)
    chosen = [sigma for sigma in sigmas if sigma in _COLUMNS]
    step = math.ceil(len(sigmas) / _MOST_COLUMNS)
    return chosen if len(chosen) > 1 else list(sigmas[::step])


def _comparison(shown: Sequence[Panel]) -> list[dict[str, Any]]:
    """For each dataset of the study that has runs: the published values, then each of its panels."""
    curves, sets = published("b2c_accuracy_vs_sigma"), published("b2c_datasets").set_index("dataset")
    blocks = []
    for dataset in DATASETS:
        own = [panel for panel in shown if panel.dataset == dataset]
        if not own:
            continue
        rows = curves[curves["dataset"] == dataset]
        top1 = rows.set_index(["regime", "sigma_px_at_224"])["top1_percent"].to_dict()
        # 8.45 is a little less in binary, and would be shown as 8.4.
        values = [[f"{top1[regime, sigma] + 1e-9:.1f}" for regime in REGIMES] for sigma in COMPARED]
        about = sets.loc[dataset].to_dict()
        theirs = {
            "classes": int(about["classes"]),
            "n": ("" if about["evaluated_images_certain"] == "yes" else "about ") + f"{about['evaluated_images']:,}",
            "values": values,
            "ratio": f"{top1[BLURRY_TO_CLEAR, 8.0] / top1[CLEAR, 8.0]:.2f}",
        }
        blocks.append({"dataset": dataset, "published": theirs, "own": [_beside(panel) for panel in own]})
    return blocks


def _beside(panel: Panel) -> dict[str, Any]:
    """A panel's own values in the shape of the published ones."""
    values = []
    for sigma in COMPARED:
        curves = [panel.curve(regime) for regime in REGIMES]
        values.append([percent(curve.points.get(sigma) if curve else None) for curve in curves])
    b2c = panel.ratio(BLURRY_TO_CLEAR)
    at8 = b2c.points.get(8.0) if b2c else None
    return {"panel": panel, "values": values, "ratio": ratio(at8), "ratio_interval": ratio_interval(at8)}


def _versions() -> str:
    packages = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "pandas", "matplotlib"))
    return f"blurtrain {blurtrain.__version__}, Python {platform.python_version()}, {packages}"
