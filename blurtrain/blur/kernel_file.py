"""A point-spread function from a file: an array, a text table or a grey image."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blurtrain.blur.point_spread import MAX_SIDE, unit_sum

_GREY = ("L", "I", "I;16", "I;16B", "I;16L")  # Pillow's modes for 8 and 16 bit


def from_file(path: str | Path) -> NDArray[np.float64]:
    """The kernel in `path`, divided by its sum; not cached.

    .npy (no pickles); .txt or .csv, a row a line, values apart by commas or blanks; .png, .tif or .tiff, one grey
    channel of 8 or 16 bit whose values are the weights as they stand (no gamma is undone).
    An even side gets a row or column of zeros at its end, so that entry n // 2 becomes the centre (NumPy's and SciPy's
    convention); what is not square then gets zeros on both sides. Raises ValueError, naming file and reason, for what
    cannot be read, is not 2-D, has NaN, infinite or negative entries, sums to zero, or has a side above MAX_SIDE.
    """
    path = Path(path)
    try:
        weights = _read(path)
        _check(weights)
    except (ValueError, SyntaxError, EOFError, OSError) as error:
        # Pillow raises SyntaxError and EOFError for some broken images; some messages have several lines.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ValueError(f"kernel file {path}: {(reason.splitlines() or ['cannot be read'])[0]}") from error
    weights = weights.astype(np.float64)
    height, width = (side + (side + 1) % 2 for side in weights.shape)
    weights = np.pad(weights, ((0, height - weights.shape[0]), (0, width - weights.shape[1])))
    side = max(height, width)
    return unit_sum(np.pad(weights, (((side - height) // 2,) * 2, ((side - width) // 2,) * 2)))


def _read(path: Path) -> NDArray[np.generic]:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: its shape is judged before it is read
        if not isinstance(array, np.ndarray):
            array.close()
            raise ValueError("is an .npz archive, not a single array")
        return array
    if suffix in (".txt", ".csv"):
        lines = [line.partition("#")[0] for line in path.read_text(encoding="utf-8-sig").splitlines()]
        lines = [line for line in lines if line.strip()]
        if not lines:
            raise ValueError("is empty")
        table: NDArray[np.float64] = np.loadtxt(lines, delimiter="," if "," in lines[0] else None, ndmin=2)
        return table
    if suffix in (".png", ".tif", ".tiff"):
        return _read_image(path)
    raise ValueError(f"has suffix {suffix or '(none)'}; kernels are read from .npy, .txt, .csv, .png, .tif and .tiff")


def _read_image(path: Path) -> NDArray[np.generic]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                raise ValueError(f"is not 2-D: it holds {frames} images")
            if image.mode not in _GREY:
                raise ValueError(f"is not 2-D: an image of mode {image.mode}, not grey of 8 or 16 bit")
            _check_shape((image.height, image.width))
            image.load()
            return np.asarray(image)
    except Image.DecompressionBombError as error:
        raise ValueError(f"is larger than {MAX_SIDE} pixels a side") from error


def _check_shape(shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or 0 in shape:
        raise ValueError(f"is not 2-D: its shape is {shape}")
    if max(shape) > MAX_SIDE:
        raise ValueError(f"is larger than {MAX_SIDE} pixels a side: its shape is {shape}")


def _check(weights: NDArray[np.generic]) -> None:
    _check_shape(weights.shape)
    if weights.dtype.kind not in "biuf":
        raise ValueError(f"does not hold real numbers but {weights.dtype}")
    values = weights.astype(np.float64)
    if np.isnan(values).any():
        raise ValueError("has NaN entries")
    if np.isinf(values).any():
        raise ValueError("has infinite entries")
    if (values < 0).any():
        raise ValueError("has negative entries")
    if not values.any():
        raise ValueError("sums to zero")
