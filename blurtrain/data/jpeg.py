"""Stored pixels as JPEG, in the one form that all readers decode to the same bits.

FFCV decodes with the fast integer transform of libjpeg-turbo (TJFLAG_FASTDCT), which gives other bits than the
accurate one that Pillow takes by default. Pillow takes the fast one too in its draft mode, but draft mode also spreads
subsampled chroma differently: so it is stored unsubsampled (4:4:4), and nothing is left to differ.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

BEST_QUALITY = 95  # above, files grow while the fast transform loses more than the finer steps keep


def encode(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Pixels [S, S, 3] as a JPEG file of `quality` 1..95."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "JPEG", quality=quality, subsampling="4:4:4")
    return content.getvalue()


def decode(content: bytes) -> NDArray[np.uint8]:
    """The pixels [S, S, 3] that FFCV decodes from what `encode` wrote; raises OSError or SyntaxError for others."""
    image = JpegImageFile(io.BytesIO(content))
    image.decoderconfig = (1, 1)  # whole size, draft mode
    return np.asarray(image)
