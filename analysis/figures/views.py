"""Images as the network sees them along a curriculum."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from blurtrain.errors import SettingsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from blurtrain.data.training_views import TrainingView

MOST = 6
"""Epochs side by side at print width."""
MOST_LETTERS = 14
"""Of a blur's label that has room beside its epoch."""


def epochs_shown(epochs: int) -> list[int]:
    """Of a run of so many epochs (1: the first), those to look at: the first, the last, and others evenly between.

    Raises SettingsError where there is none.
    """
    if not epochs:
        raise SettingsError("optimisation.epochs=0: nothing is trained, so there is no curriculum to draw")
    if epochs <= MOST:
        return list(range(1, epochs + 1))
    return [1 + round(k * (epochs - 1) / (MOST - 1)) for k in range(MOST)]


def views_figure(views: Sequence[Sequence["TrainingView | None"]], title: str) -> "Figure":
    """A row an image, a column an epoch; above each picture, its blur. None: the epoch left the image out."""
    import matplotlib

    from analysis.figures.style import GREY, PAGE, SMALL, STYLE, grid, one_line

    columns = len(views[0])
    side = min(1.5, PAGE / columns)
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(views), columns, max(2.0, side * columns), side + 0.16)
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.3)
        figure.suptitle(one_line(title), fontsize=7.5)
        for row, places in zip(views, axes, strict=True):
            for view, place in zip(row, places, strict=True):
                place.set(xticks=[], yticks=[])
                for spine in place.spines.values():
                    spine.set_visible(False)
                if view is None:
                    place.text(0.5, 0.5, "left out", ha="center", va="center", fontsize=SMALL, color=GREY)
                    continue
                place.imshow(view.pixels, interpolation="none")
                below = "\n" if len(view.blur) > MOST_LETTERS else " "  # or it runs into its neighbour
                place.set_title(f"epoch {view.epoch}:{below}{one_line(view.blur)}", fontsize=SMALL, pad=2)
    return figure


def save(views: Sequence[Sequence["TrainingView | None"]], title: str, path: Path) -> None:
    """Draw `views_figure` into `path` (its folder is made); raises SettingsError for a name that is no picture's.

    The same views give the same bytes.
    """
    from analysis.figures.style import KINDS, as_files

    kind = path.suffix.lower().removeprefix(".")
    if kind not in KINDS:
        raise SettingsError(f"{path}: a picture's name must end in one of {', '.join(f'.{kind}' for kind in KINDS)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(as_files(views_figure(views, title))[kind])
