"""Pictures of training images as the network sees them: of one run's settings, and of the runs of a report."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blurtrain.errors import BlurtrainError, DataError

if TYPE_CHECKING:
    from analysis.figures.style import Picture
    from blurtrain.data.training_views import TrainingView
    from blurtrain.settings import Settings

MOST = 15
"""Pictures of a report: one a dataset and regime."""


def views_of(settings: "Settings", images: int, data_id: str = "") -> "tuple[list[list[TrainingView | None]], str]":
    """Of so many training images, a row each, their views in some epochs; and a title.

    Raises DataError where the dataset is not there, or is another one than that of `data_id`.
    """
    from analysis.figures.views import epochs_shown
    from blurtrain.data.dataset import open_dataset
    from blurtrain.data.training_views import training_views
    from blurtrain.models.normalisation import as_published

    epochs = epochs_shown(settings.optimisation.epochs)
    dataset = open_dataset(Path(settings.data.root), settings.dataset)
    if data_id not in ("", dataset.data_id):
        raise DataError(f"{dataset.folder}: has been prepared otherwise since")
    views = training_views(as_published(settings), dataset, images, epochs)
    return views, f"{settings.dataset}, {settings.regime}, {settings.optimisation.epochs} epochs"


def pictures_of(runs: Path, images: int, say: Callable[[str], Any]) -> "Iterator[Picture]":
    """Such a picture of each dataset and regime of the done runs of a folder, of the run with the lowest seed. What
    cannot be shown, as its dataset is not here, is said in a line."""
    import analysis
    from analysis.figures.style import Picture
    from analysis.figures.views import views_figure
    from analysis.reporting.pictures import Names
    from blurtrain.run import Run

    frame = analysis.load(runs, table="runs")
    done = frame[frame["state"] == "done"].sort_values("seed", kind="stable")
    rows = done.drop_duplicates(["dataset", "regime"]).to_dict("records")[:MOST]
    names = Names("views")
    for row in rows:
        try:
            views, title = views_of(Run(runs / row["run_id"]).settings, images, row["data_id"])
        except BlurtrainError as error:
            say(f"no images of {row['run_id']}: {error}")
            continue
        yield Picture(
            names(f"{row['dataset']}-{row['regime']}"),
            f"Training images: {title}",
            "Training images, a row each, as the network sees them in some epochs, a column each.",
            "Augmented and blurred as in training, not normalised; sigma in pixels at 224 px, other blurs by label.",
            views_figure(views, title),
        )
