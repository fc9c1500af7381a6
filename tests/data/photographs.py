"""Pictures that look enough like photographs to be compared: smooth, coloured, each of its own."""

from functools import cache

import numpy as np
from PIL import Image


@cache
def photograph(seed: int, side: int = 96) -> Image.Image:
    """Coloured noise whose power falls with frequency (to the 2.8), a little more than that of photographs does.

    Not to be changed: it is drawn once.
    """
    rng = np.random.default_rng([77, seed])
    frequency = np.hypot.outer(np.fft.fftfreq(side), np.fft.fftfreq(side))
    frequency[0, 0] = 1
    shade, *tints = (np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequency**1.4).real for _ in range(4))
    pixels = np.stack([shade / shade.std() + 0.3 * tint / tint.std() for tint in tints], 2)
    return Image.fromarray((128 + 40 * pixels).clip(0, 255).round().astype(np.uint8))
