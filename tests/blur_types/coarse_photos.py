"""Photos by number: no two look alike."""

from pathlib import Path

import numpy as np
from PIL import Image


def save(path: Path, number: int) -> None:
    """A small photo of coarse noise, 80 x 60 px, in folders that are made for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(np.random.default_rng(number).integers(0, 256, (6, 8, 3), np.uint8))
    coarse.resize((80, 60), Image.Resampling.BICUBIC).save(path)
