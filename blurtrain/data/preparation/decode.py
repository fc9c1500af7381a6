"""One image file as square 8-bit RGB pixels, or a reason why not."""

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from blurtrain.errors import DataError


def decode(content: bytes, size: int) -> NDArray[np.uint8]:
    """Decode (see `opened`) and resize to size x size (aspect not kept, antialiased bilinear).

    Returns uint8 [size, size, 3]. Raises DataError with the reason for anything that cannot be decoded to its last
    pixel.
    """
    return np.asarray(opened(content).resize((size, size), Image.Resampling.BILINEAR))


def opened(content: bytes) -> Image.Image:
    """An image file as 8-bit RGB, turned by EXIF orientation.

    Grey, palette, CMYK and 16-bit images become 8-bit RGB; transparency is dropped, as torchvision does. Raises
    DataError with the reason for anything that cannot be decoded to its last pixel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image: Image.Image = Image.open(io.BytesIO(content))
            image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I") or image.mode == "F":
            image = _eight_bits(image)
        return image.convert("RGB")
    except DataError:
        raise
    except UnidentifiedImageError:  # its own message names a place in memory
        raise DataError("no image, by its content" if content else "empty file") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, struct.error, ... for damaged files
        raise DataError(str(error) or type(error).__name__) from None


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey as 8-bit grey; Pillow would clip it to white."""
    pixels = np.asarray(image)
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535:
        raise DataError(f"pixels of kind {image.mode} (32 bit): convert them to 8 or 16 bits first")
    return Image.fromarray(np.round(pixels / 257).astype(np.uint8))


def read(path: Path, size: int) -> tuple[str, NDArray[np.uint8] | None, str]:
    """SHA-256 of the file, its pixels (see `decode`) or None, and what was wrong ("" if nothing). Never raises."""
    try:
        content = path.read_bytes()
    except OSError as error:
        return "", None, error.strerror or str(error)
    digest = hashlib.sha256(content).hexdigest()
    try:
        return digest, decode(content, size), ""
    except DataError as error:
        return digest, None, str(error)
