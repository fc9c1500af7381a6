"""The image as it was before it was blurred."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from blurtrain.tasks.task import Targets, Task

if TYPE_CHECKING:
    from torch import Tensor

MOST_PSNR = 100.0
"""Decibels that count for an image whose pixels are all right."""


class Restoration(Task):
    """Sharp images: outputs and targets are pixels [N, 3, H, W] in 0..1 (data.mean=[0, 0, 0], data.sd=[1, 1, 1]).

    psnr: peak signal-to-noise ratio in decibels, a mean over images, of outputs as they are (not rounded).
    """

    type: Literal["restoration"] = "restoration"
    metrics: ClassVar[tuple[str, ...]] = ("psnr",)
    higher_is_better: ClassVar[frozenset[str]] = frozenset({"psnr"})
    targets: ClassVar[Targets] = "sharp"
    measure: ClassVar[str] = "restoration"

    def outputs(self, classes: int) -> int:
        return 3

    def output_shape(self, outputs: int, side: int) -> tuple[int, ...]:
        return (outputs, side, side)

    def sums(self, outputs: "Tensor", targets: "Tensor") -> list["Tensor"]:
        import torch

        error = (outputs.double() - targets.double()).square().flatten(1).mean(1)
        return [(-10 * torch.log10(error)).clamp(max=MOST_PSNR).sum()]

    def summary(self, means: Mapping[str, float]) -> str:
        return f"PSNR {means['psnr']:.2f} dB"
