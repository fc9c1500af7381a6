"""How blurred an image is, by itself, without a sharp one beside it: four measures of pixels at their own resolution.

laplacian   larger where sharper. Fails where contrast differs (it goes with its square); noise, blocks of JPEG and
            sharpening raise it.
reblur      smaller where sharper. Noise and texture lower it, smooth surfaces raise it; above sigma 4 or so it hardly
            changes.
slope       larger (less negative) where sharper. Content differs: -2 is usual, from -1 to -3 is seen; noise and JPEG
            flatten it.
edge_width  smaller where sharper. Fails where nothing has a sharp edge (clouds, water); noise lowers it; of an image
            that is blurred in part, it sees the sharp part.

None of them says that a photograph is out of focus: they compare images of like content, size and treatment. All see
pixels, so a sharp photograph that was enlarged is blurred, and a blurred one that was reduced is sharp: what counts is
the resolution at which images are used.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Grey = NDArray[np.float64]
"""[H, W], 0..255."""
SMALLEST = 24
"""Pixels of a side from which there is enough to measure."""
REBLUR = 11
"""Pixels of the box of `reblur`."""
NARROW, WIDE = 1.0, 2.0
"""Scales (pixels) at which `edge_width` compares gradients."""
STRONGEST = 0.1
"""Of all ridges of the gradient, the share that `edge_width` looks at."""
FREQUENCIES = (0.02, 0.35)
"""Cycles a pixel between which `slope` is fitted: above, JPEG and interpolation are stronger than what was seen."""
ROUNDING = 1 / 12
"""Variance of a pixel by its rounding to 8 bits."""


def grey(pixels: NDArray[Any]) -> Grey:
    """Luma (Rec. 709 weights) of pixels [H, W, 3], or grey ones [H, W]. Raises ValueError for another shape, or for a
    side of less than SMALLEST pixels."""
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"pixels must be [H, W] or [H, W, 3], not {list(pixels.shape)}")
    if min(pixels.shape[:2]) < SMALLEST:
        raise ValueError(f"an image of {pixels.shape[1]} x {pixels.shape[0]} pixels is too small: {SMALLEST} a side")
    whole = np.asarray(pixels, np.float64)
    return whole if pixels.ndim == 2 else whole @ np.array([0.2125, 0.7154, 0.0721])


def laplacian(image: Grey) -> float:
    """Variance of the Laplacian (four neighbours) within the image (Pech-Pacheco et al., ICPR 2000)."""
    centre = image[1:-1, 1:-1]
    around = image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:]
    return float((around - 4 * centre).var())


def reblur(image: Grey) -> float:
    """How much of the gradients a second blur leaves, 0 (sharp) to 1, along the axis where it is most (Crete, Dolmiere,
    Ladret & Nicolas, SPIE 6492, 2007); as scikit-image's `blur_effect` has it. 1 for an image without gradients."""
    left = []
    for axis in (0, 1):
        own = np.abs(ndimage.sobel(image, axis))[2:-1, 2:-1]
        again = np.abs(ndimage.sobel(ndimage.uniform_filter1d(image, REBLUR, axis), axis))[2:-1, 2:-1]
        total = own.sum()
        left.append(1 - np.maximum(own - again, 0).sum() / total if total else 1.0)
    return float(max(left))


def slope(image: Grey) -> float:
    """Slope of the power spectrum over frequency, both in logarithms, within FREQUENCIES: about -2 for photographs
    (Field 1987). NaN where too little of it is stronger than the noise of 8 bits."""
    window = np.outer(*(np.hanning(side + 2)[1:-1] for side in image.shape))
    mean = (image * window).sum() / window.sum()
    power = np.abs(np.fft.fft2((image - mean) * window)) ** 2
    frequency = np.hypot.outer(*(np.fft.fftfreq(side) for side in image.shape))
    edges = np.geomspace(*FREQUENCIES, 13)
    place = np.digitize(frequency, edges) - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    count = np.bincount(place[inside], minlength=len(edges) - 1)
    total = np.bincount(place[inside], weights=power[inside], minlength=len(edges) - 1)
    seen = count > 0
    mean_power, centre = total[seen] / count[seen], np.sqrt(edges[:-1] * edges[1:])[seen]
    # A spectrum that has sunk into the noise of rounding runs on flat: of a blurred image what lies before says more.
    sunk = np.flatnonzero(mean_power < 4 * ROUNDING * np.square(window).sum())
    usable = slice(0, int(sunk[0]) if len(sunk) else None)
    if len(centre[usable]) < 3:
        return float("nan")
    return float(np.polyfit(np.log(centre[usable]), np.log(mean_power[usable]), 1)[0])


def edge_width(image: Grey) -> float:
    """How wide (sigma, pixels) the strongest edges are when seen at a scale of 1 pixel: the median over them. It is
    sqrt(sigma^2 + 1) where they are steps blurred by sigma; lines are narrower. NaN where there is no edge.

    The gradient of a step falls with the scale at which it is taken, the less the more the step is blurred already
    (Zhuo & Sim, Pattern Recognition 44, 1852, 2011).
    """
    (gy, gx), (wy, wx) = (
        [ndimage.gaussian_filter(image, scale, order) for order in ((1, 0), (0, 1))] for scale in (NARROW, WIDE)
    )
    strength, wide = np.hypot(gy, gx), np.hypot(wy, wx)
    ridge = _ridge(strength, gy, gx)
    if not ridge.any():
        return float("nan")
    enough = np.quantile(strength[ridge], 1 - STRONGEST)
    chosen = ridge & (strength >= enough)
    ratio = (strength[chosen] / np.maximum(wide[chosen], 1e-12)) ** 2
    # The gradient at a scale is as 1 / sqrt(sigma^2 + scale^2).
    square = np.where(ratio > 1, (WIDE**2 - NARROW**2) / np.maximum(ratio - 1, 1e-12), np.inf)
    return float(np.sqrt(np.median(square)))


def _ridge(strength: Grey, gy: Grey, gx: Grey) -> NDArray[np.bool_]:
    """Where the gradient is at least as strong as at the next pixels along it; not at the image's border."""
    here = strength[1:-1, 1:-1]
    angle = np.arctan2(gy, gx)[1:-1, 1:-1]
    direction = np.round(angle / (np.pi / 4)).astype(np.int64) % 4
    found = np.zeros(strength.shape, np.bool_)
    height, width = here.shape
    for k, (down, across) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = strength[1 + down : 1 + down + height, 1 + across : 1 + across + width]
        behind = strength[1 - down : 1 - down + height, 1 - across : 1 - across + width]
        found[1:-1, 1:-1] |= (direction == k) & (here >= ahead) & (here > behind) & (here > 1e-3)
    margin = int(3 * WIDE)
    inner = np.zeros_like(found)
    inner[margin:-margin, margin:-margin] = True
    return found & inner


@dataclass(frozen=True)
class Sharpness:
    """One of the measures."""

    name: str
    of: Callable[[Grey], float]
    sharper: int
    """1: of a sharper image it is larger; -1: smaller."""
    digits: int


MEASURES = {
    one.name: one
    for one in (
        Sharpness("laplacian", laplacian, 1, 1),
        Sharpness("reblur", reblur, -1, 3),
        Sharpness("slope", slope, 1, 2),
        Sharpness("edge_width", edge_width, -1, 2),
    )
}


def sharpness(pixels: NDArray[Any]) -> dict[str, float]:
    """All of MEASURES, by name, of pixels [H, W] or [H, W, 3] in 0..255; raises as `grey`."""
    image = grey(pixels)
    return {name: measure.of(image) for name, measure in MEASURES.items()}
