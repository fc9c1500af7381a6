"""How far away the things in an image are: made up, as images do not say it, or given by the user."""

import functools
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.errors import SettingsError


def ground_and_subject(draws: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """[height, width], 0 the nearest and 1 the farthest: ground that recedes up to a horizon, sky above it, and before
    them, upright on the ground, an ellipse: a subject somewhere in the middle, as photographs mostly have one.

    What is drawn: the horizon (0.2..0.5 of the height from above), the subject's centre (0.3..0.7 of both sides), its
    width (0.2..0.4) and height (0.3..0.6). Nearness falls evenly from the lower border to the horizon; the subject has
    that of the ground at its foot.
    """
    horizon, x, y, wide, tall = draws.random(5)
    horizon = 0.2 + 0.3 * horizon
    x, y, wide, tall = 0.3 + 0.4 * x, 0.3 + 0.4 * y, 0.1 + 0.1 * wide, 0.15 + 0.15 * tall
    down = (np.arange(height) + 0.5)[:, None] / height
    across = (np.arange(width) + 0.5)[None] / width
    ground = np.clip((1 - down) / (1 - horizon), 0, 1)
    foot = np.clip((1 - min(y + tall, 1.0)) / (1 - horizon), 0, 1)
    subject = ((across - x) / wide) ** 2 + ((down - y) / tall) ** 2 <= 1
    scene: NDArray[np.float64] = np.where(subject, np.minimum(foot, ground), np.broadcast_to(ground, subject.shape))
    return scene


@functools.lru_cache(maxsize=8)
def depths_from(file: str, sha256: str | None) -> NDArray[np.floating]:
    """Depths [images, H, W] in metres from an .npy file, read as they are needed. Raises SettingsError, one line, for
    a file that is missing, holds anything else, or has another SHA-256."""
    path = Path(file)
    try:
        if sha256 and (found := hashlib.sha256(path.read_bytes()).hexdigest()) != sha256:
            raise SettingsError(f"depths={file}: is another file than was meant: its sha256 is {found}")
        depths: NDArray[np.floating] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SettingsError(f"depths={file}: cannot be read as .npy ({str(error).splitlines()[0]})") from None
    if depths.ndim != 3 or not np.issubdtype(depths.dtype, np.floating):
        raise SettingsError(f"depths={file}: must be floats [images, height, width], not {depths.dtype}{depths.shape}")
    return depths
