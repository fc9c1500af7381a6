"""The kernel that harms a network most: learnt against it by gradient ascent, within a bound on what it changes.

A kernel is the softmax of its logits, so that its taps are non-negative and sum to 1 whatever the logits are. Blur is
linear: of the kernel t k + (1 - t) delta an image differs from the sharp one by t times what k changes, so that the
bound is kept exactly by the choice of t.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from blurtrain.blur.arithmetic import at_least_single

Harm = Callable[[Tensor], Tensor]
"""Takes images [N, C, H, W]; the loss of each [N], which is to rise."""


@dataclass(frozen=True)
class Ascent:
    """How a kernel is learnt."""

    size: int = 15
    """Taps a side; odd."""
    steps: int = 3
    """Of ascent; each costs a forward and a backward pass."""
    rate: float = 1.0
    """By how much the logit that matters most moves in a step."""
    start: Literal["identity", "random"] = "random"
    """From a kernel that is nearly the identity, or from logits drawn from a normal distribution."""
    distance: float = 0.5
    """Most that the blur may change: root mean square of the difference from the sharp image, relative to that of the
    sharp image from the mean of its channels."""
    among: int = 1
    """So many consecutive images share a kernel."""

    def logits(self, groups: int, like: Tensor) -> Tensor:
        """Where the ascent begins: [groups, size^2]; random ones from torch's state."""
        if self.start == "random":
            return torch.randn(groups, self.size**2, device=like.device, dtype=like.dtype)
        centre = torch.tensor(self.size**2 // 2, device=like.device)
        # The centre weighs as much as all other taps together: nearer to the identity no gradient would be left.
        return (one_hot(centre, self.size**2) * torch.log(torch.tensor(self.size**2 - 1.0))).to(like).repeat(groups, 1)


@dataclass(frozen=True)
class Worst:
    """What an ascent found."""

    images: Tensor
    """[N, C, H, W], blurred, without gradient."""
    kernels: Tensor
    """[N / among, size, size]: non-negative, of unit sum, as they were applied."""
    harm: Tensor
    """[N / among]: the mean loss of the images of each kernel; never less than `harm_at_start`."""
    harm_at_start: Tensor


def worst_blur(images: Tensor, harm: Harm, ascent: Ascent, logits: Tensor | None = None) -> Worst:
    """The most harmful kernels of an ascent for images [N, C, H, W] (of any linear scale); N is a multiple of `among`.

    logits: where it begins [N / among, size^2], in place of `ascent.start`. Of all kernels on the way, the first one
    included, that with the largest loss is taken. Raises ValueError where half a kernel is as wide as an image, or
    images cannot be shared out.
    """
    n, side = len(images), min(images.shape[-2:])
    if ascent.size // 2 >= side:
        raise ValueError(
            f"a kernel of {ascent.size} taps is too wide for images of {side} px: take at most {2 * side - 1}"
        )
    if n % ascent.among:
        raise ValueError(f"{n} images cannot be shared out by {ascent.among} a kernel")
    images = at_least_single(images.detach())
    blurrer = Blurrer(images, ascent.size)
    with torch.enable_grad():
        logits = ascent.logits(n // ascent.among, images) if logits is None else logits.to(images)
        best = _evaluated(images, blurrer, harm, ascent, logits.requires_grad_())
        at_start = best.harm
        found = best
        for _ in range(ascent.steps):
            (gradient,) = torch.autograd.grad(found.total, logits)
            steepest = gradient.abs().amax(1, keepdim=True).clamp(min=torch.finfo(gradient.dtype).tiny)
            logits = (logits.detach() + ascent.rate * gradient / steepest).requires_grad_()
            found = _evaluated(images, blurrer, harm, ascent, logits)
            best = best.or_where_worse(found)
    return Worst(blurrer(best.kernels), best.kernels, best.harm, at_start)


class Blurrer:
    """Images [N, C, H, W] to be blurred by one set of kernels after the other, by the product of their spectra: of
    many small groups torch's convolutions take a hundred times as long, most of all their gradients."""

    def __init__(self, images: Tensor, size: int):
        """size: taps a side, odd; half of it must be less than the images' sides. Beyond the border the image is
        reflected."""
        self.half, self.shape = size // 2, images.shape
        shown = pad(images, (self.half,) * 4, mode="reflect")
        self.padded = shown.shape[-2:]
        self.spectra = torch.fft.rfft2(shown)

    def __call__(self, kernels: Tensor) -> Tensor:
        """Each group of N / G consecutive images blurred by its own of kernels [G, size, size]; differentiable."""
        of_kernels = torch.fft.rfft2(kernels, s=self.padded)
        each = of_kernels.repeat_interleave(self.shape[0] // len(kernels), 0)[:, None]
        blurred = torch.fft.irfft2(self.spectra * each, s=self.padded)
        return blurred[..., 2 * self.half :, 2 * self.half :]


def applied(images: Tensor, kernels: Tensor) -> Tensor:
    """Images [N, C, H, W], each group of N / G consecutive ones blurred by its own of kernels [G, size, size]."""
    return Blurrer(images, kernels.shape[-1])(kernels)


def distances(images: Tensor, blurred: Tensor) -> Tensor:
    """[N]: root mean square of the difference, relative to that of images [N, C, H, W] from the means of their
    channels; of an image without contrast 0."""
    changed, contrast = (square.sqrt() for square in mean_squares(images, blurred))
    return torch.where(contrast > 0, changed / contrast.clamp(min=torch.finfo(torch.float64).tiny), 0.0)


def mean_squares(images: Tensor, blurred: Tensor) -> tuple[Tensor, Tensor]:
    """[N] each, float64, means over the pixels of images [N, C, H, W]: of the squared difference, and of that of the
    images from the means of their channels."""
    difference = (blurred - images).double()
    contrast = images.double() - images.double().mean((2, 3), keepdim=True)
    return difference.square().flatten(1).mean(1), contrast.square().flatten(1).mean(1)


def with_identity(kernels: Tensor, share: Tensor) -> Tensor:
    """So much [G] of kernels [G, size, size], and the identity for the rest."""
    identity = torch.zeros_like(kernels)
    identity[:, kernels.shape[1] // 2, kernels.shape[2] // 2] = 1
    return mixed(kernels, identity, share)


def mixed(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """`share` [N] of each of `one` [N, ...], and the rest of `other`."""
    share = share.view(-1, *[1] * (one.ndim - 1))
    return share * one + (1 - share) * other


@dataclass(frozen=True)
class _Step:
    kernels: Tensor
    harm: Tensor
    total: Tensor
    """With its graph."""

    def or_where_worse(self, other: "_Step") -> "_Step":
        worse = other.harm > self.harm
        kernels = torch.where(worse[:, None, None], other.kernels, self.kernels)
        return _Step(kernels, torch.where(worse, other.harm, self.harm), other.total)


def _evaluated(images: Tensor, blurrer: Blurrer, harm: Harm, ascent: Ascent, logits: Tensor) -> _Step:
    kernels = logits.softmax(1).unflatten(1, (ascent.size, ascent.size))
    blurred = blurrer(kernels)
    kept = _kept(images, blurred.detach(), ascent)
    # Of a mixture with the identity the blurred image is the same mixture.
    losses = harm(mixed(blurred, images, kept.repeat_interleave(ascent.among))).unflatten(0, (-1, ascent.among)).mean(1)
    return _Step(with_identity(kernels, kept).detach(), losses.detach(), losses.sum())


def _kept(images: Tensor, blurred: Tensor, ascent: Ascent) -> Tensor:
    """How much of each kernel the bound leaves [groups]; no gradient flows through it."""
    farthest = distances(images, blurred).unflatten(0, (-1, ascent.among)).amax(1)
    return (ascent.distance / farthest.clamp(min=ascent.distance)).to(blurred.dtype)
