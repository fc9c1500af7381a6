"""Arrays that measures keep beside their rows, as a NumPy archive of LEVEL/NAME; read without torch."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from blurtrain.errors import RunError

Arrays = Mapping[str, Mapping[str, NDArray[Any]]]
"""By the label of a level, then by name."""


def read_arrays(path: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """What lies beside an outcome (`Arrays`), of any shapes. Raises RunError where the file is damaged."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for key in file.files:
                # A level of the user's own may be called by a path.
                level, _, name = key.rpartition("/")
                found.setdefault(level, {})[name] = file[key]
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read: {error}; the file is damaged: remove it and measure again") from None
    return found


def with_arrays(path: Path, more: Arrays) -> bytes:
    """The content of the file with these levels, in place of those of the same names."""
    together = {**(read_arrays(path) if path.exists() else {}), **more}
    content = io.BytesIO()
    flat = {f"{level}/{name}": values for level, of in together.items() for name, values in of.items()}
    np.savez_compressed(content, **flat)  # type: ignore[arg-type]
    return content.getvalue()
