"""What a measure finds of each image, from all processes, as records and as rows."""

from collections.abc import Mapping, Sequence

import numpy as np

from blurtrain.distributed import Group
from blurtrain.evaluation.images import Images
from blurtrain.evaluation.subject import Records, Row
from blurtrain.evaluation.sweep import merged

OfLevels = Mapping[str, Records]
"""Records by level."""


def collected(
    parts: Sequence[OfLevels], levels: Sequence[str], images: Images, group: Group, what: str
) -> dict[str, Records]:
    """The records of all batches of all processes, by the index of the images; every process calls it.

    Raises RuntimeError, which says `what` was measured, if not every image was so exactly once.
    """
    everywhere = group.gather(list(parts))
    found = {level: merged([[part[level] for part in process] for process in everywhere]) for level in levels}
    for records in found.values():
        if not np.array_equal(records["index"], images.indices):
            n = len(records["index"])
            raise RuntimeError(f"{what} was measured of {n} images, not of the {images.n}")
    return found


def rows_of(level: str, sigma: float | None, records: Records) -> list[Row]:
    """Booleans of records are counted, numbers averaged, each a metric of its name."""
    about = {"blur": level, "sigma": sigma, "n": len(records["index"])}
    return [
        {"metric": name, **about, "count": int(values.sum())}
        if values.dtype == bool
        else {"metric": name, **about, "value": float(values.mean())}
        for name, values in records.items()
        if name != "index"
    ]
