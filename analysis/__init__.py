"""From run directories to a result table, statistics, figures and a report. Never needs torch.

import analysis
frame = analysis.load("runs")  # one row per (done run, conditions, level of blur)
runs = analysis.load("runs", table="runs")  # one row per run directory, with all settings; docs/tables-from-runs.md
table = analysis.table({"rows": "regime", "columns": "blur"}, "runs")
trials = analysis.trials("runs")  # one row per trial of a search
pictures = analysis.pictures("runs")  # the figures of a report, one by one
analysis.report("runs", "report")  # results.csv, index.html, figures/
"""

from analysis.collecting.collection import collect
from analysis.collecting.runs import load, metrics, results, unfinished
from analysis.literature import published, published_names
from analysis.reporting.drawn import pictures
from analysis.reporting.page import report
from analysis.searches.trials import trials
from analysis.statistics.comparisons import benjamini_hochberg, corrected_intervals, holm, mcnemar
from analysis.statistics.estimates import accuracy, accuracy_difference, accuracy_ratio, paired, ratio, summary
from analysis.statistics.intervals import katz, wilson
from analysis.tabulation.rendering import as_html, as_latex, as_markdown, as_text
from analysis.tabulation.tables import table, tables
from analysis.verdicts.verdicts import verdict_frame, verdicts

__all__ = [
    "accuracy",
    "accuracy_difference",
    "accuracy_ratio",
    "as_html",
    "as_latex",
    "as_markdown",
    "as_text",
    "benjamini_hochberg",
    "collect",
    "corrected_intervals",
    "holm",
    "katz",
    "load",
    "mcnemar",
    "metrics",
    "paired",
    "pictures",
    "published",
    "published_names",
    "ratio",
    "report",
    "results",
    "summary",
    "table",
    "tables",
    "trials",
    "unfinished",
    "verdict_frame",
    "verdicts",
    "wilson",
]
