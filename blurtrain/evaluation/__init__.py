"""What is measured of a trained network: `blurtrain.evaluation.evaluate` from Python, `blurtrain evaluate` else."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from blurtrain.blur.blurs import Blur
    from blurtrain.models.trained import TrainedNetwork


def evaluate(
    network: "TrainedNetwork | str | Path | Sequence[TrainedNetwork | str | Path]",
    measures: Sequence[str] = ("accuracy",),
    blurs: "Sequence[Blur | str | float] | None" = None,
    *,
    data: str | Path | None = None,
    dataset: str | None = None,
    split: str | None = None,
    epoch: int | None = None,
    per_image: bool = False,
    out: str | Path | None = None,
) -> list[dict[str, Any]]:
    """Measure a run, by its folder, or any trained network; returns rows, as `pandas.DataFrame` takes them.

    network: a run directory; a TrainedNetwork, or its name (`torchvision/resnet50`, see `blurtrain.load_network`).
    Several of them are measured as one, by the mean of their log-probabilities, each shown images in its own way.
    measures: names of ours (accuracy), or package.module:Name of your own.
    blurs: levels: blurs or their labels ("disk-4"), or sigmas in pixels at 224; by default as the run's settings say.
    data, dataset, split: folder of prepared datasets, which one of them, which split of it (test); of a run, as its
    settings say. epoch: of a run, after so many epochs. per_image: keep records of each image, too.
    out: folder for the outcome of a network that is no run, or of several; a run's is kept in its `evaluations/`.

    Rows: {measure, metric, blur, sigma, split, epoch, n, value or count}. What was measured before is not computed
    again. Raises BlurtrainErrors, one line each, for what does not fit together.
    """
    from blurtrain.evaluation.front import evaluate_any

    return evaluate_any(network, measures, blurs, data, dataset, split, epoch, per_image, out)


__all__ = ["evaluate"]
