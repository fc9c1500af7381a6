"""Curriculum by Smoothing (Sinha, Garg & Larochelle 2020): Gaussian blur of the feature maps of every convolution."""

from typing import Any

from torch import Tensor, nn

from blurtrain.blur import gaussian_blur
from blurtrain.curricula import Curriculum, FeatureSmoothing


class Smoothing:
    """Blurs what each convolution of `model` gives by `sigma` (feature pixels) while the model is in training mode.

    Does nothing for any curriculum but feature smoothing. The trained network is the plain one: at the end of the
    schedule sigma has all but vanished, and evaluation is without smoothing.
    """

    def __init__(self, model: nn.Module, curriculum: Curriculum):
        self.sigma = 0.0
        if isinstance(curriculum, FeatureSmoothing):
            self.radius = curriculum.kernel_size // 2
            for module in model.modules():
                if isinstance(module, nn.Conv2d):
                    module.register_forward_hook(self._smooth)

    def _smooth(self, module: nn.Module, _: Any, features: Tensor) -> Tensor | None:
        if not module.training or self.sigma == 0:
            return None
        return gaussian_blur(features, self.sigma, truncate=self.radius / self.sigma)
