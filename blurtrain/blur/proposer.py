"""A small network that proposes, for each image, the kernel that harms another network most.

Its kernels are the softmax of its logits, and keep the bound of `blurtrain.blur.adversarial` in the same way: a mixture
with the identity. Here gradients flow through the bound, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from blurtrain.blur.adversarial import Ascent, Blurrer, mean_squares, mixed, with_identity
from blurtrain.blur.arithmetic import at_least_single

FLAT = 1e-10
"""An image is flat, and no blur changes it, where its variance is less than this share of its mean square: beside it
are errors of rounding."""


class Proposer(nn.Module):
    """Images [N, 3, H, W], normalised, to logits of kernels [N, size^2].

    Three convolutions of 3 x 3 at stride 2, of `width`, 2 and 4 times as many channels, the mean over all places, and a
    linear layer. Nothing normalises, so that an image's kernel is the same whatever batch it is in. It begins with one
    kernel for all images, nearly the identity: the centre weighs as much as all other taps together.
    """

    def __init__(self, size: int, width: int):
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(widths[k], widths[k + 1], 3, stride=2, padding=1) for k in range(len(widths) - 1)
        )
        self.last = nn.Linear(widths[-1], size**2)
        nn.init.zeros_(self.last.weight)
        with torch.no_grad():
            self.last.bias.copy_(Ascent(size, start="identity").logits(1, self.last.bias)[0])

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        for convolution in self.convolutions:
            images = convolution(images).relu()
        logits: Tensor = self.last(images.mean((2, 3)))
        return logits


@dataclass(frozen=True)
class Proposed:
    """What logits make of images; differentiable in them."""

    images: Tensor
    """[N, C, H, W], blurred."""
    kernels: Tensor
    """[N, size, size]: non-negative, of unit sum, as they were applied."""
    changed: Tensor
    """[N], float64: of the kernel as it was proposed, before the bound, the squared difference from the sharp image,
    relative to the variance of that; some 1 where nothing is left of an image."""


def proposed_blur(images: Tensor, logits: Tensor, distance: float) -> Proposed:
    """Images [N, C, H, W], without gradient, each blurred by the softmax of its logits [N, size^2], or as far as
    `distance` allows (root mean square of the difference, relative to that of the image from the mean of its channels).

    Raises ValueError where half a kernel is as wide as an image.
    """
    images = at_least_single(images.detach())
    size, logits = round(logits.shape[1] ** 0.5), logits.to(images.dtype)
    blurrer = Blurrer(images, size)
    kernels = logits.softmax(1).unflatten(1, (size, size))
    blurred = blurrer(kernels)
    difference, variance = mean_squares(images, blurred)
    flat = variance <= FLAT * images.double().square().flatten(1).mean(1)
    changed = torch.where(flat, 0.0, difference / torch.where(flat, 1.0, variance))
    share = (distance / changed.clamp(min=distance**2).sqrt()).to(blurred.dtype)
    return Proposed(mixed(blurred, images, share), with_identity(kernels, share), changed)


def reversed_gradient(values: Tensor) -> Tensor:
    """The same values, whose gradient has its sign changed: what lies before it ascends on the loss that all else
    descends on (Ganin & Lempitsky, ICML 2015)."""
    return 2 * values.detach() - values
