"""Curriculum by Smoothing (Sinha, Garg & Larochelle 2020): Gaussian blur of the feature maps of convolutions."""

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import pad

from blurtrain.blur import gaussian_blur
from blurtrain.blur.curricula import Curriculum, FeatureSmoothing

POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)


class Smoothing:
    """Blurs what convolutions of `model` give by `sigma` (feature pixels), which may be set anew at any time.

    In training mode, and in evaluation mode only where the curriculum smooths `at_test`; does nothing for any
    curriculum but feature smoothing. Else the trained network is the plain one.
    """

    def __init__(self, model: nn.Module, curriculum: Curriculum):
        self.sigma = 0.0
        self.convolutions: list[nn.Conv2d] = []  # those that are smoothed
        if isinstance(curriculum, FeatureSmoothing):
            self.radius, self.at_test = curriculum.kernel_size // 2, curriculum.at_test
            self.zero_border = curriculum.border == "zero"
            self.convolutions = list(_smoothed(model, curriculum.convolutions))
            for module in self.convolutions:
                module.register_forward_hook(self._smooth)

    def __deepcopy__(self, _: dict[int, Any]) -> "Smoothing":
        return self  # a copy of a network, such as the moving average of its weights, is smoothed as the network is

    def _smooth(self, module: nn.Module, _: Any, features: Tensor) -> Tensor | None:
        one_pixel = features.shape[-2:] == (1, 1)  # as of a linear layer written as a convolution
        if self.sigma == 0 or one_pixel or not (module.training or self.at_test):
            return None
        reach, radius = self.radius / self.sigma, self.radius
        if not self.zero_border:
            return gaussian_blur(features, self.sigma, truncate=reach, finite=True)
        # Of the padded map only what the kernel reaches without leaving it is kept.
        padded = gaussian_blur(pad(features, [radius] * 4), self.sigma, truncate=reach, finite=True)
        return padded[..., radius:-radius, radius:-radius]


def _smoothed(model: nn.Module, which: str) -> Iterator[nn.Conv2d]:
    """The convolutions that are followed by a blur, see `FeatureSmoothing.convolutions`."""
    passed = {layer for chain in model.modules() for layer in _before_others(chain)} if which != "all" else set()
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module not in passed and (which == "all" or module.kernel_size != (1, 1)):
            yield module


def _before_others(chain: nn.Module) -> Iterator[nn.Module]:
    """Of a chain with poolings, the convolutions that another follows before the next pooling."""
    layers = list(chain) if isinstance(chain, nn.Sequential) else []
    if any(isinstance(layer, POOLINGS) for layer in layers):
        steps = [layer for layer in layers if isinstance(layer, (nn.Conv2d, *POOLINGS))]
        yield from (a for a, b in itertools.pairwise(steps) if isinstance(a, nn.Conv2d) and isinstance(b, nn.Conv2d))
