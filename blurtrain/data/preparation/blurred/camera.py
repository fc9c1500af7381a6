"""From light to a JPEG file, as cameras and those who pass photos on do it: alike for all classes."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blurtrain.blur.kernels import gaussian
from blurtrain.blur.light import srgb
from blurtrain.data.preparation.blurred.layers import Rng, blurred

NIGHT = 0.15
"""Share of photos that are taken with little light: dark, and noisy."""


def photographed(light: Tensor, rng: Rng) -> bytes:
    """A JPEG file of light [3, H, W] in 0..1.

    The lens softens by at most .7 px; exposure is off by half a stop up or one down (at night two to four down, of
    which some is lifted afterwards); shot and read noise; sharpening in the camera for half of the photos; half of them
    reduced, to 70 % at least; JPEG of quality 70 to 96, with colours in half resolution for half.
    """
    light = blurred(light, gaussian(rng.uniform(0.2, 0.7)))
    night = rng.random() < NIGHT
    gain = 2 ** (rng.uniform(-4, -2) if night else rng.uniform(-1, 0.5))
    shot, read = (10 ** rng.uniform(low + night, high + night) for low, high in ((-5, -3), (-4, -2.5)))
    exposed = (light * gain).clamp(0, 1)
    noise = torch.from_numpy(rng.standard_normal(tuple(light.shape), np.float32))
    exposed = exposed + (shot * exposed + read**2).sqrt() * noise
    if night:
        exposed = exposed * 2 ** rng.uniform(0, 2.5)
    values = srgb(255 * exposed.clamp(0, 1))
    if rng.random() < 0.5:
        values = values + rng.uniform(0.2, 1) * (values - blurred(values, gaussian(1.0)))
    pixels = values.round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().numpy()
    image = Image.fromarray(pixels)
    if rng.random() < 0.5:
        scale = rng.uniform(0.7, 1)
        size = (max(1, round(scale * image.width)), max(1, round(scale * image.height)))
        image = image.resize(size, Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(rng.integers(70, 97)), subsampling=int(2 * rng.integers(2)))
    return file.getvalue()
