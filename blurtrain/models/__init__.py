"""Networks by name."""

from torch import nn

SMALLEST_INPUT = {"alexnet-sup": 63, "resnet-18": 32}
"""Smallest side of the input, in pixels, that each network takes."""


def build(architecture: str, classes: int) -> nn.Module:
    """A freshly initialised network, drawn from torch's random state."""
    if architecture == "alexnet-sup":
        from blurtrain.models.alexnet import AlexNetSup

        return AlexNetSup(classes)
    from blurtrain.models import torchvision_ops  # noqa: F401  (before torchvision)
    from torchvision.models import resnet18  # isort: skip

    return resnet18(num_classes=classes)
