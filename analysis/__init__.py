"""From run directories to a result table, statistics, figures and a report. Never needs torch.

import analysis
frame = analysis.load("runs")  # one row per (done run, conditions, level of blur)
trials = analysis.trials("runs")  # one row per trial of a search
analysis.report("runs", "report")  # results.csv, index.html, figures/
"""

from analysis.intervals import clustered, clustered_ratio, katz, wilson
from analysis.literature import published, published_names
from analysis.page import report
from analysis.runs import load, metrics, results, unfinished
from analysis.searches import trials
from analysis.statistics import accuracy, accuracy_difference, accuracy_ratio

__all__ = [
    "accuracy",
    "accuracy_difference",
    "accuracy_ratio",
    "clustered",
    "clustered_ratio",
    "katz",
    "load",
    "metrics",
    "published",
    "published_names",
    "report",
    "results",
    "trials",
    "unfinished",
    "wilson",
]
