"""What a front-end learns for the image itself."""

import torch
from torch import Tensor, nn

from blurtrain.models.frontend import WithFrontend
from blurtrain.tasks import Loss, View


class ImageLoss:
    """Mean absolute distance, times `weight`, of what a front-end gives from the sharp images (pixels in 0..1)."""

    def __init__(self, network: WithFrontend):
        self.network, self.weight = network, network.image
        self._given: Tensor | None = None
        network.watch(self._keep)

    @classmethod
    def of(cls, network: nn.Module) -> "ImageLoss | None":
        """None where a network has no front-end that learns for the image."""
        return cls(network) if isinstance(network, WithFrontend) and network.image else None

    def _keep(self, given: Tensor) -> None:
        if torch.is_grad_enabled():
            self._given = given

    def __call__(self, sharp: Tensor) -> Tensor:
        """Of all views that were in the last forward pass, those of an image side by side; sharp: normalised images
        [N, 3, H, W]."""
        assert self._given is not None
        given, self._given = self._given, None
        wanted = self.network.pixels(sharp)
        return self.weight * (given.unflatten(0, (len(sharp), -1)) - wanted[:, None]).abs().mean()


def views_of(loss: Loss, image_loss: ImageLoss | None) -> tuple[View, ...]:
    """What a training step is given beside the images: the views of the loss, and the sharp one for a front-end."""
    further: tuple[View, ...] = ("sharp",) if image_loss and "sharp" not in loss.views else ()
    return (*loss.views, *further)
