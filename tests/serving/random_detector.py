"""A detector that has learned nothing, for what has to be true of any."""

import torch
from torch import nn

from blurtrain.blur_types import CLASSES
from blurtrain.models.trained import Preprocessing, TrainedNetwork


def random_network(view: str = "mosaic", side: int = 48) -> TrainedNetwork:
    """Looks at colours and edges, so that photos differ in their most probable class; the weights are random."""
    torch.manual_seed(5)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(16, len(CLASSES)),
    )  # fmt: skip
    with torch.no_grad():
        module[-1].weight *= 40
    shown = Preprocessing(side, side, (0.45, 0.45, 0.4), (0.25, 0.25, 0.25), view=view)  # type: ignore[arg-type]
    return TrainedNetwork(module.eval(), shown, CLASSES, "random", temperature=1.7)
