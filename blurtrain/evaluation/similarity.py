"""How alike two activations are: Hamming distance once binarised, cosine, and linear CKA.

A map is [N, H, W, C], in float32. "a" is of one network or image, "b" of the other, of the same shape.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDING = 1e-12
"""A variance that is no more of the mean square than this is none: float32 knows values to 6e-8 of them."""

BLOCK = 512


def differing(a: Tensor, b: Tensor) -> Tensor:
    """How many channels [N, H, W] (integers) of two binarised maps (booleans [N, H, W, C]) differ, at each place."""
    different = a ^ b
    channels = different.shape[-1]
    if channels % 8 or channels > 8 * 255:
        return different.sum(-1)
    # Eight channels at a time, each in a byte of its own, which holds up to 255: sixty times as fast on a processor.
    eights = different.view(torch.uint8).view(torch.int64).sum(-1)
    return eights.view(torch.uint8).view(*eights.shape, 8).sum(-1)


def products(a: Tensor, b: Tensor) -> Tensor:
    """The inner product of each image's two maps, over all places and channels: [N], float64."""
    return torch.linalg.vecdot(a.flatten(1), b.flatten(1)).double()


def cosine(ab: Tensor, aa: Tensor, bb: Tensor) -> Tensor:
    """From such products [N] of a with b, a with a and b with b: the cosine of the angle between the two. 1 where both
    are zero, 0 where one is. Exactly 1 where the two are the same."""
    norms = (aa * bb).sqrt()
    return torch.where(norms > 0, ab / norms, ((aa == 0) & (bb == 0)).double()).clamp(-1, 1)


@dataclass(frozen=True)
class Centred:
    """Examples whose means are taken off."""

    rows: Tensor
    """[examples, C]."""
    mean: Tensor
    """[C], float64."""

    @classmethod
    def of(cls, maps: Tensor) -> "Centred":
        """Of maps [N, H, W, C]: every place of every image is an example, its channels are the features."""
        rows = maps.flatten(0, -2)
        mean = rows.mean(0)
        return cls(rows - mean, mean.double())


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a^T b of rows [n, C], in float64. Sums over BLOCK rows are those of the float32 product: over all rows they would
    be off by up to 2e-4 where channels are few, as they are added up one by one."""
    whole = len(a) // BLOCK * BLOCK
    first, second = (own[:whole].unflatten(0, (-1, BLOCK)) for own in (a, b))
    return (first.mT @ second).sum(0, dtype=torch.float64) + a[whole:].T @ b[whole:]


class Comoment:
    """The sum of (a - mean a) (b - mean b)^T over examples that come in batches, in one pass.

    Each batch is centred by its own means; what comes of that is corrected (Chan, Golub & LeVeque 1983, The American
    Statistician 37:242-247), so nothing large is subtracted from something as large.
    """

    def __init__(self, channels: int, device: torch.device):
        self.n = 0
        self.mean_a, self.mean_b = (torch.zeros(channels, dtype=torch.float64, device=device) for _ in range(2))
        self.sum = torch.zeros(channels, channels, dtype=torch.float64, device=device)

    def add(self, a: Centred, b: Centred) -> None:
        """One more batch: the same examples of both."""
        n = len(a.rows)
        share = n / (self.n + n)
        step_a, step_b = a.mean - self.mean_a, b.mean - self.mean_b
        self.sum += _product(a.rows, b.rows)
        self.sum.addr_(step_a, step_b, alpha=self.n * share)
        self.mean_a += share * step_a
        self.mean_b += share * step_b
        self.n += n

    def add_up(self, summed: Callable[[Tensor], Tensor]) -> None:
        """Make it that of the examples of all processes; `summed` is the sum of a tensor over them."""
        n = float(summed(torch.tensor(float(self.n), dtype=torch.float64, device=self.sum.device)))
        mean_a, mean_b = (summed(self.n * mean) / max(n, 1) for mean in (self.mean_a, self.mean_b))
        self.sum.addr_(self.mean_a - mean_a, self.mean_b - mean_b, alpha=self.n)
        self.sum, self.n, self.mean_a, self.mean_b = summed(self.sum), round(n), mean_a, mean_b

    @property
    def varies(self) -> bool:
        """Of a with itself: whether the examples differ by more than the rounding of their values."""
        return float(self.sum.trace()) > ROUNDING * self.n * float(self.mean_a.square().sum())


def linear_cka(ab: Comoment, aa: Comoment, bb: Comoment) -> float:
    """Linear centred kernel alignment of a and b, in 0..1: |ab|^2 / (|aa| |bb|), in Frobenius' norm (Kornblith et al.,
    ICML 2019, in the form of features x features).

    Where neither varies over the examples it is 1, where one alone does not, 0.
    """
    if not (aa.varies and bb.varies):
        return float(aa.varies == bb.varies)
    norms = [float(part.sum.norm()) for part in (ab, aa, bb)]
    return min(1.0, norms[0] / norms[1] * norms[0] / norms[2])
