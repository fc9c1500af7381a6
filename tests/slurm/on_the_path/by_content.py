"""Numba's compiled functions, kept by the content of their source file: the copies of the code that jobs run from, one
of each grid, then need not each compile the same again, which takes longer than a small training."""

import hashlib
from pathlib import Path

from numba.core.caching import UserProvidedCacheLocator


class ByContent(UserProvidedCacheLocator):
    """For NUMBA_CACHE_LOCATOR_CLASSES (older Numbas do not know it, and compile): a place below NUMBA_CACHE_DIR."""

    @classmethod
    def get_suitable_cache_subpath(cls, py_file: str) -> str:
        return hashlib.sha256(Path(py_file).read_bytes()).hexdigest()
