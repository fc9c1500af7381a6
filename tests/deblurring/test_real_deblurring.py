"""Photographs, blurred at a smaller side of 384 and rounded to 8 bits, as the baselines are tested."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from blurtrain.blur.blurs import Blur
from blurtrain.deblurring import Deblurring
from blurtrain.evaluation.quality import psnr

SIDE = 384


@pytest.mark.images
@pytest.mark.slow
@pytest.mark.parametrize("level", ["disk-4@384", "disk-8@384", "shake@384"])
def test_every_photograph_gains_by_every_method_that_knows_the_kernel(images_root: Path, level: str) -> None:
    files = [sorted(folder.iterdir())[7] for folder in sorted((images_root / "imagenette" / "val").iterdir())[::2]]
    opened = [Image.open(file).convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR) for file in files]
    sharp = torch.from_numpy(np.stack([np.asarray(image) for image in opened])).permute(0, 3, 1, 2).float()
    blur, indices = Blur.parse(level), range(len(files))
    given = blur.blurred(sharp, indices, resolution=SIDE).clamp(0, 255).round()
    for label in ("wiener", "richardson-lucy", "total-variation"):
        method: Deblurring = Deblurring.model_validate(label)
        found = method.deblurred(given, blur, indices, resolution=SIDE).round()
        gained = psnr(found, sharp) - psnr(given, sharp)
        assert gained.min() > 1, f"{label}: {gained}"
