"""Masks of photos, as data sets come with them: the number of a class for each pixel, VOID where there is none.

PNG with a palette (as VOC's: the numbers, not the colours), grey PNG, PNG in VOC's colours, MATLAB files of the
Semantic Boundaries Dataset (GTcls.Segmentation), or outlines and run lengths of COCO (`blurtrain.data.outlines`).
"""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blurtrain.errors import DataError
from blurtrain.files import publish
from blurtrain.tasks.segmentation import VOID


def read_mask(content: bytes, suffix: str, size: tuple[int, int], classes: int) -> NDArray[np.uint8]:
    """A mask file (`suffix`: .png, .mat, ...) of a photo of `size` (width, height): numbers below `classes`, or VOID.

    Returns [height, width]. Raises DataError where it cannot be read, is of another size, or has other values.
    """
    mask = _of_matlab(content) if suffix.lower() == ".mat" else _of_image(content, size)
    check_mask(mask, size, classes)
    return mask.astype(np.uint8)


def check_mask(mask: NDArray[np.integer], size: tuple[int, int], classes: int) -> None:
    """Raises DataError where a mask [height, width] is not of `size` (width, height), or has values that none has."""
    if mask.shape != size[::-1]:
        height, width = mask.shape
        raise DataError(f"mask of {width} x {height} pixels for a photo of {size[0]} x {size[1]}")
    values = np.unique(mask)
    if wrong := [int(v) for v in values if v != VOID and not 0 <= v < classes]:
        raise DataError(f"mask has value {wrong[0]}, which is no class (0..{classes - 1}, or {VOID} for void)")


def _of_image(content: bytes, size: tuple[int, int]) -> NDArray[np.integer]:
    try:
        image: Image.Image = Image.open(io.BytesIO(content))
        if image.size != size:  # before it fills the memory
            raise DataError(f"mask of {image.width} x {image.height} pixels for a photo of {size[0]} x {size[1]}")
        image.load()
    except DataError:
        raise
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... for damaged files
        known = isinstance(error, Image.UnidentifiedImageError)
        raise DataError("no mask, by its content" if known else str(error) or type(error).__name__) from None
    if image.mode in ("RGB", "RGBA"):
        return _of_colours(np.asarray(image.convert("RGB")))
    if image.mode not in ("P", "L", "I", "I;16"):
        raise DataError(f"mask in mode {image.mode}: must have a palette, be grey, or be in VOC's colours")
    return np.asarray(image)


def _of_colours(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """From VOC's colours, as masks are that were saved without their palette."""
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], np.int32)
    colours, inverse = np.unique(packed, return_inverse=True)
    numbers = {int(c): k for k, c in enumerate(palette().astype(np.int32) @ np.array([65536, 256, 1], np.int32))}
    if unknown := [int(c) for c in colours if int(c) not in numbers]:
        raise DataError(f"mask has colour #{unknown[0]:06x}, which is none of VOC's")
    return np.array([numbers[int(c)] for c in colours], np.uint8)[inverse].reshape(packed.shape)


def _of_matlab(content: bytes) -> NDArray[np.integer]:
    from scipy.io import loadmat

    try:
        mask = np.asarray(loadmat(io.BytesIO(content))["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # SciPy raises many kinds for damaged files
        raise DataError(f"no mask of the Semantic Boundaries Dataset (GTcls.Segmentation): {error}") from None
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise DataError(f"GTcls.Segmentation is {mask.dtype} {list(mask.shape)}, and no image of whole numbers")
    return mask


@cache
def palette() -> NDArray[np.uint8]:
    """VOC's 256 colours [256, 3] by number: the bits of the number, three by three from the lowest, are the bits of
    red, green and blue from the highest."""
    numbers = np.arange(256)
    colours = np.zeros((256, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * place + channel)) & 1) << (7 - place)
    return colours.astype(np.uint8)


def write_mask(path: Path, mask: NDArray[np.uint8]) -> None:
    """A mask [height, width] as a PNG with VOC's palette."""
    image, content = Image.fromarray(mask), io.BytesIO()
    image.putpalette(palette().tobytes())
    image.save(content, "PNG")
    publish(path, content.getvalue())


def largest_class(mask: NDArray[np.uint8], classes: Sequence[str]) -> int:
    """The class other than 0, the background, that has most pixels of a mask [H, W]; 0 where there is none."""
    counts = np.bincount(mask.reshape(-1), minlength=256)[1 : len(classes)]
    return int(counts.argmax()) + 1 if counts.size and counts.max() else 0
