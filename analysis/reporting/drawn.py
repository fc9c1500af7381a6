"""The figures of a report from Python, one by one."""

from pathlib import Path
from typing import TYPE_CHECKING

from analysis.collecting.runs import scan
from analysis.panels import at_the_end, panels
from analysis.searches.section import without_trials
from analysis.searches.trials import searches

if TYPE_CHECKING:
    from analysis.figures.style import Picture


def pictures(runs: str | Path) -> "list[Picture]":
    """All that a report draws of the done runs of a folder, but for what is of its searches alone.

    Each has a `name` (accuracy, ratio, datasets, stage-ratio; stages, matrix, learning and filters with a dataset
    behind), a `title`, a `caption` that says what is drawn, and a matplotlib `figure`. A notebook shows one where it is
    the last value of a cell. What there is nothing to draw of is not among them. Raises RunError where no run is done.
    """
    # matplotlib takes a while to import.
    from analysis.figures.accuracy import accuracy_figure, ratio_figure
    from analysis.figures.style import Picture
    from analysis.reporting.overview import gathered
    from analysis.reporting.pictures import BARS
    from analysis.reporting.pictures import pictures as others

    collected = scan(runs)
    kept = without_trials(collected, searches(runs)[0], best=True)
    shown = panels(kept.frame)
    final = at_the_end(kept.frame, shown)
    over_sigma = [panel for panel in final if any(curve.points for curve in panel.curves)]
    assert collected.collection is not None
    of_sigma = "the blur of the test images, Gaussians by sigma in pixels at 224 px; dotted: the study's"
    found = []
    if over_sigma:
        found.append(Picture(
            "accuracy", "Accuracy against blur", "Line charts, one a dataset: top-1 accuracy against sigma.",
            f"Top-1 against {of_sigma}. {BARS}", accuracy_figure(gathered(over_sigma)),
        ))  # fmt: skip
    if figure := ratio_figure(over_sigma):
        found.append(Picture(
            "ratio", "Accuracy divided by that of clear", "Line charts, one a dataset: ratio against sigma.",
            f"Ratios against {of_sigma}. Above 1, more is recognised than after training on clear images. {BARS}",
            figure,
        ))  # fmt: skip
    return found + others(collected.collection, kept.settings.keys(), shown, final)
