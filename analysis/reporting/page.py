"""The report: one HTML page that stands alone, the result table as CSV, and the figures as PNG and SVG."""

import base64
import dataclasses
import datetime
import importlib.metadata
import math
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

import blurtrain
from analysis.collecting.runs import Collected, results_csv, scan
from analysis.literature import BLURRY_TO_CLEAR, CLEAR, DATASETS, REGIMES, STUDY, STUDY_RESOLUTION, published
from analysis.panels import Panel, panels
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

VERDICTS = "tables/verdicts.csv"
COMPARED = (0.0, 4.0, 8.0)
"""Sigmas at which the study's summary is given."""
_COLUMNS = (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
_MOST_COLUMNS = 9


def report(runs: str | Path, out: str | Path) -> Path:
    """Write `results.csv`, `index.html` and `figures/` of all done runs, `tables/` of those that fit one, and
    `searches/` of all searches into `out`; returns the path of `index.html`.

    Every file is replaced whole. Raises RunError if no run is done, if a run is damaged, or if `out` cannot be written.
    """
    from analysis.figures import accuracy as figures
    from analysis.figures.style import KINDS, as_files
    from analysis.reporting import pictures

    out = Path(out)
    collected = scan(runs)
    found, unreadable = searches(runs)
    collected = dataclasses.replace(collected, odd=[*collected.odd, *unreadable])
    kept = without_trials(collected, found, best=True)
    shown, frame = panels(kept.frame), kept.frame
    final = frame["epoch"] == frame["epochs"]
    at_the_end = shown if final.all() else panels(frame[final])  # and so not named by the epoch
    over_sigma = [panel for panel in at_the_end if any(curve.points for curve in panel.curves)]
    accuracy = figures.accuracy_figure(over_sigma) if over_sigma else None
    assert collected.collection is not None
    more = pictures.pictures(collected.collection, kept.settings.keys(), shown, at_the_end)
    drawn = {"accuracy": accuracy, "ratio": figures.ratio_figure(over_sigma),
             **{picture.name: picture.figure for picture in more}}  # fmt: skip
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
    urls = {}
    for name, figure in drawn.items():
        for kind, content in (as_files(figure) if figure else {}).items():
            files[f"figures/{name}.{kind}"] = content
            if kind == "svg":
                urls[name] = "data:image/svg+xml;base64," + base64.b64encode(content).decode()
    sections = [section(search, collected.frame, Path(runs)) for search in found]
    for part in sections:
        files |= part.files
    files["index.html"] = page(shown, collected, urls, by_spec, sections, more, judged)
    former = [*former_files(out), VERDICTS, *_former_figures(out, ("accuracy", "ratio", *pictures.KINDS), KINDS),
              *(f"tables/{spec.name}.csv" for spec in table_specs())]  # fmt: skip
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
    pictures: dict[str, str],
    by_spec: Sequence[Table] = (),
    sections: Sequence[Section] = (),
    more: Sequence["Picture"] = (),
    judged: Sequence[Verdict] = (),
) -> str:
    """`index.html` as text: `shown` are the panels of what was `collected`, `pictures` maps `accuracy`, `ratio` and the
    names of `more` to URLs of images, `by_spec` are the tables by their specs, `sections` the searches, `more` all
    other figures, `judged` what comes of the studies' claims."""
    frame, missing = collected.frame, collected.missing
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "percent_interval": percent_interval, "ratio": ratio,
                            "ratio_interval": ratio_interval, "effect": effect,
                            "in_html": in_html, "g": lambda x: f"{x:g}", **FILTERS}  # fmt: skip
    done = frame["run_id"].nunique()
    curves = [curve for panel in shown for curve in panel.curves]
    sigmas = sorted({sigma for curve in curves for run in curve.runs for sigma in run.points})
    return environment.get_template("report.html").render(
        panels=shown,
        columns=_columns(sigmas),
        all_sigmas=sigmas,
        others=any(panel.others for panel in shown),
        done=done,
        missing=missing,
        pruned=collected.pruned,
        total=done + len(missing) + len(collected.pruned),
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
    )


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


def in_html(table: Table) -> Markup:
    """A table and its notes, without the caption, which is a heading of the page."""
    return Markup(as_html_table(table, caption=False)) + Markup(as_html_notes(table))


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
