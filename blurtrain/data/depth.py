"""Images of 16 bits as 8-bit ones. Microscopes often use 12 of them: taken as 16, these are nearly black."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from blurtrain.errors import DataError

FULL = 16
DEPTHS = (8, 10, 12, 14)
"""Bits that are in use, where it is not all of them."""
_MAX_SAMPLE_VALUE, _BITS_PER_SAMPLE = 281, 258  # tags of TIFF


class Shallow(NamedTuple):
    """An image as 8-bit values, and what is known of the 16-bit ones that they were."""

    image: Image.Image
    needed: int = 0
    """Bits that its largest value needs, where nothing says how many are used; 0: it has no 16, or they are known."""
    stated: bool = False
    """Whether its file says that fewer than 16 are used."""


def eight_bits(image: Image.Image, content: bytes, bits: int | None) -> Shallow:
    """`image`, as it was read from `content`, with 8 bits a channel.

    bits: how many of 16 are used; None: as the file states (PNG's sBIT, TIFF's MaxSampleValue), else all. Raises
    DataError for values that do not fit in, and for kinds of pixels that are not known.
    """
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
            raise DataError(f"pixels of kind {image.mode} (32 bit): convert them to 8 or 16 bits first")
        needed = int(pixels.max()).bit_length()
        stated = None if bits else _stated(image, content, needed)
        used = bits or stated or FULL
        if needed > used:
            raise DataError(f"holds values above {2**used - 1}, which are more than {used} bits")
        grey = Image.fromarray(np.round(pixels * (255 / (2**used - 1))).astype(np.uint8))
        return Shallow(grey, 0 if bits or stated else max(needed, 1), stated is not None)
    if image.mode != "L" and _has_sixteen(image, content):  # of which Pillow has read the upper 8
        if bits not in (None, FULL):
            raise DataError("colours of 16 bits, of which only the upper 8 are read: convert it to 8 bits first")
        largest = max(high for _, high in image.convert("RGB").getextrema())  # type: ignore[misc]
        return Shallow(image, 0 if bits else int(largest).bit_length() + 8)
    return Shallow(image)


def check_depth(needed: int) -> None:
    """Raise DataError where an image of 16 bits needs so few of them that it would be nearly black."""
    if needed <= DEPTHS[-1]:
        raise DataError(f"its values of 16 bits seem to use {_used(needed)} of them: convert it to 8 bits first")


def check_depths(needed: Sequence[int], where: str) -> None:
    """Raise DataError where none of so many images of 16 bits needs more than a part of them."""
    if needed and max(needed) <= DEPTHS[-1]:
        bits = _used(max(needed))
        raise DataError(
            f"{where}: {len(needed)} images of 16 bits hold no value above {2**bits - 1}, and would be nearly black: "
            f"--bits {bits} says that they use {bits} of them, --bits {FULL} that they are meant so (colours have to "
            "be converted to 8 bits first)"
        )


def _used(needed: int) -> int:
    return next(depth for depth in DEPTHS if depth >= needed)


def _stated(image: Image.Image, content: bytes, needed: int) -> int | None:
    """How many bits the file says are used, where that can be; none: it does not say so."""
    found = None
    if image.format == "PNG":
        # Decoders are to scale samples up, and some writers have not: then all values are that small.
        at = content.find(b"sBIT", 8, content.find(b"IDAT"))
        found = content[at + 4] if at > 0 else None
    elif image.format == "TIFF":
        largest = int(np.ravel(getattr(image, "tag_v2", {}).get(_MAX_SAMPLE_VALUE, 0))[0])
        # Others note here the largest value that there happens to be.
        found = largest.bit_length() if largest & (largest + 1) == 0 else None
    return found if found and max(needed, DEPTHS[0]) <= found < FULL else None


def _has_sixteen(image: Image.Image, content: bytes) -> bool:
    if image.format == "PNG":
        return content[24:25] == bytes([FULL])  # of its header
    return image.format == "TIFF" and FULL in np.ravel(getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 0))
