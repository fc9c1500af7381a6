"""How near the images that a network restores are to the sharp ones."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from blurtrain.blur.blurs import Blur
from blurtrain.evaluation.fidelity import DECIBELS, GAINED, SIMILARITY, beside_sharp, gain
from blurtrain.evaluation.measure import Measure
from blurtrain.evaluation.quality import psnr, ssim
from blurtrain.evaluation.subject import Found, Subject
from blurtrain.tasks import Targets


class Restoration(Measure):
    """Of networks for task=restoration. Images are blurred, and rounded to 8 bits, at data.resolution, or whole at the
    size of `evaluation.protocol` where there is one (its scales and crops do not count); the network is given them so,
    and what it gives is rounded to 8 bits. Means over images:

    psnr, ssim: of what the network gives; psnr_input, ssim_input: of what it is given; psnr_gain: by how much the
    former PSNR is higher; gained: images of which it is higher at all. 100 dB count where no pixel is wrong.
    """

    name: ClassVar[str] = "restoration"
    of_classes: ClassVar[bool] = False
    of_protocols: ClassVar[bool] = True
    of_targets: ClassVar[frozenset[Targets]] = frozenset({"sharp"})
    metrics: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "psnr": {"label": "PSNR", **DECIBELS},
        "ssim": {"label": "SSIM", **SIMILARITY},
        "psnr_input": {"label": "PSNR of the input", **DECIBELS},
        "ssim_input": {"label": "SSIM of the input", **SIMILARITY},
        "psnr_gain": {"label": "PSNR gain", **DECIBELS},
        "gained": GAINED,
    }
    headlines: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "psnr": metrics["psnr"],
        "psnr_input": metrics["psnr_input"],
    }

    def measure(self, subject: Subject, levels: Sequence[Blur], per_image: bool) -> Found:
        """See `Measure.measure`."""
        network, transform = subject.network.module.eval(), subject.transform
        weights = next(network.parameters())

        def values(sharp: Tensor, given: Tensor, blur: Blur, indices: NDArray[np.int64]) -> dict[str, Tensor]:
            outputs = network(transform.normalise(given).to(weights.dtype))
            found = outputs.float().mul(255).clamp(0, 255).round()
            return {
                "psnr": psnr(found, sharp),
                "ssim": ssim(found, sharp),
                "psnr_input": psnr(given, sharp),
                "ssim_input": ssim(given, sharp),
                **gain(found, given, sharp),
            }

        return beside_sharp(subject, transform, levels, values, per_image)
